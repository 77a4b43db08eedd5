module example.com/gotriage/goill

go 1.19
