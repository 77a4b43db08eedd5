module example.com/gotriage/parked

go 1.19
