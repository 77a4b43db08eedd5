module example.com/gotriage/cgo

go 1.19
