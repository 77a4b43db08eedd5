module example.com/gotriage/svc

go 1.19
