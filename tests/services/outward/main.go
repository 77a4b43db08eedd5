// Command outward looks names up, asks others by HTTPS and serves HTTPS itself, and logs what goes wrong.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"time"
)

func main() {
	lookup := flag.String("lookup", "", "look this name up again and again")
	get := flag.String("get", "", "ask this URL again and again")
	every := flag.Duration("every", 200*time.Millisecond, "how often")
	listen := flag.String("listen", "127.0.0.1:0", "serve HTTPS on this address, with -cert")
	cert := flag.String("cert", "", "file with the chain, PEM")
	key := flag.String("key", "", "file with the key, PEM")
	roots := flag.Bool("roots", false, "say how many authorities it trusts")
	ready := flag.String("ready-file", "", "write the address here once ready")
	flag.Parse()

	address := "none"
	if *cert != "" {
		pair, err := tls.LoadX509KeyPair(*cert, *key)
		must(err)
		listener, err := net.Listen("tcp", *listen)
		must(err)
		address = listener.Addr().String()
		server := &http.Server{TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}}}
		go func() { must(server.ServeTLS(listener, "", "")) }()
	}
	if *ready != "" {
		must(os.WriteFile(*ready+".part", []byte(address), 0o644))
		must(os.Rename(*ready+".part", *ready))
	}
	if *roots {
		pool, err := x509.SystemCertPool()
		must(err)
		log.Print("authorities ", len(pool.Subjects()))
	}
	log.Print("service up ", address)
	for range time.NewTicker(*every).C {
		if *lookup != "" {
			ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
			if _, err := net.DefaultResolver.LookupHost(ctx, *lookup); err != nil {
				log.Print("cannot connect: ", err)
			}
			cancel()
		}
		if *get != "" {
			ask(*get)
		}
	}
}

func ask(url string) {
	client := &http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get(url)
	if err != nil {
		log.Print("request failed: ", err)
		return
	}
	_, _ = io.Copy(io.Discard, answer.Body)
	_ = answer.Body.Close()
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
