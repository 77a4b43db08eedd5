// Command web is an HTTP service over plain TCP and over TLS (HTTP/1 and HTTP/2), with a database of its own making:
// every path answers in a known way. With -get it is the client instead, and says how often it got what.
package main

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "serve plain HTTP on this address")
	secure := flag.String("tls", "127.0.0.1:0", "serve HTTPS on this address")
	ready := flag.String("ready-file", "", "write both addresses here once ready, a line each")
	get := flag.String("get", "", "be a client: ask for this address")
	times := flag.Int("times", 1, "... so often")
	workers := flag.Int("workers", 1, "... at the same time")
	seconds := flag.Float64("seconds", 0, "... for so long, as often as it goes")
	pause := flag.Duration("pause", 0, "... with so long between two")
	old := flag.Bool("http1", false, "... by HTTP/1 also over TLS")
	flag.Parse()
	if *get != "" {
		ask(*get, *times, *workers, *seconds, *old, *pause)
		return
	}
	plain, err := net.Listen("tcp", *listen)
	must(err)
	over, err := net.Listen("tcp", *secure)
	must(err)
	base := "http://" + plain.Addr().String()
	handler := routes(base)
	go func() { must(http.Serve(plain, handler)) }()
	go func() { must((&http.Server{Handler: handler, TLSConfig: selfSigned()}).ServeTLS(over, "", "")) }()
	if *ready != "" {
		text := plain.Addr().String() + "\n" + over.Addr().String() + "\n"
		must(os.WriteFile(*ready+".part", []byte(text), 0o644))
		must(os.Rename(*ready+".part", *ready))
	}
	select {}
}

func routes(base string) http.Handler {
	db, err := sql.Open("fake", "")
	must(err)
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "well") })
	mux.HandleFunc("/status/", func(w http.ResponseWriter, r *http.Request) {
		code, err := strconv.Atoi(r.URL.Path[len("/status/"):])
		if err != nil {
			code = http.StatusBadRequest
		}
		w.WriteHeader(code)
	})
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		milliseconds, _ := strconv.Atoi(r.URL.Query().Get("ms"))
		time.Sleep(time.Duration(milliseconds) * time.Millisecond)
	})
	mux.HandleFunc("/panic", func(w http.ResponseWriter, r *http.Request) { panic("of the handler") })
	mux.HandleFunc("/recovered", func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			_ = recover()
			w.WriteHeader(http.StatusInternalServerError)
		}()
		panic("that is recovered from")
	})
	mux.HandleFunc("/out", func(w http.ResponseWriter, r *http.Request) {
		answer, err := http.Get(base + "/status/404")
		if err == nil {
			_ = answer.Body.Close()
		}
	})
	mux.HandleFunc("/nowhere", func(w http.ResponseWriter, r *http.Request) {
		if answer, err := http.Get("http://127.0.0.1:1/"); err == nil {
			_ = answer.Body.Close()
		}
	})
	mux.HandleFunc("/sql", func(w http.ResponseWriter, r *http.Request) { asked(db, r.Context(), w) })
	mux.HandleFunc("/prepared", func(w http.ResponseWriter, r *http.Request) { must(prepared(db, r.Context())) })
	return mux
}

func prepared(db *sql.DB, ctx context.Context) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	statement, err := tx.PrepareContext(ctx, "SELECT name FROM orders WHERE id = $1 AND kind = 'x7'")
	if err != nil {
		return err
	}
	rows, err := statement.QueryContext(ctx, 1)
	if err != nil {
		return err
	}
	if err := rows.Close(); err != nil {
		return err
	}
	if _, err := statement.ExecContext(ctx, 2); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM orders WHERE id = 2"); err != nil {
		return err
	}
	return tx.Commit()
}

func asked(db *sql.DB, ctx context.Context, w http.ResponseWriter) {
	_, err := db.ExecContext(ctx, "INSERT INTO orders VALUES ('Miller', 4242)")
	if err == nil {
		var rows *sql.Rows
		rows, err = db.QueryContext(ctx, "SELECT name FROM orders WHERE id = 4242 AND name <> 'it''s'")
		if err == nil {
			err = rows.Close()
		}
	}
	if _, broken := db.ExecContext(ctx, "BROKEN"); broken == nil {
		err = fmt.Errorf("no error where one was due")
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
