module example.com/gotriage/outward

go 1.19
