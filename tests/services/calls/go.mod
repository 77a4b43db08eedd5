module example.com/gotriage/calls

go 1.19
