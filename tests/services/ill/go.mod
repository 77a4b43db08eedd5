module example.com/gotriage/ill

go 1.19
