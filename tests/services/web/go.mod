module example.com/gotriage/web

go 1.19
