module example.com/gotriage/healthy

go 1.19
