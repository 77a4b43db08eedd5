// That there is an assembly file lets main.go declare a function without a body.
