package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
)

// A database that answers every query with no rows, and "BROKEN" with an error.
type fake struct{}

func init() { sql.Register("fake", fake{}) }

func (fake) Open(string) (driver.Conn, error) { return conn{}, nil }

type conn struct{}

func (conn) Prepare(string) (driver.Stmt, error) { return nil, errors.New("not prepared") }
func (conn) Close() error                        { return nil }
func (conn) Begin() (driver.Tx, error)           { return nil, errors.New("no transactions") }

func (conn) ExecContext(_ context.Context, query string, _ []driver.NamedValue) (driver.Result, error) {
	if query == "BROKEN" {
		return nil, errors.New("broken")
	}
	return driver.RowsAffected(1), nil
}

func (conn) QueryContext(context.Context, string, []driver.NamedValue) (driver.Rows, error) { return rows{}, nil }

type rows struct{}

func (rows) Columns() []string         { return []string{"name"} }
func (rows) Close() error              { return nil }
func (rows) Next([]driver.Value) error { return io.EOF }
