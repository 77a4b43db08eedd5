package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"sync"
	"time"
)

// ask sends requests, and prints a line "PROTOCOL STATUS COUNT" for each kind of answer.
func ask(url string, times, workers int, seconds float64, old bool, pause time.Duration) {
	transport := &http.Transport{
		TLSClientConfig:     &tls.Config{InsecureSkipVerify: true},
		ForceAttemptHTTP2:   !old,
		MaxIdleConnsPerHost: workers,
	}
	if old {
		transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	}
	client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	answers := map[string]int{}
	var lock sync.Mutex
	var all sync.WaitGroup
	end := time.Now().Add(time.Duration(seconds * float64(time.Second)))
	for worker := 0; worker < workers; worker++ {
		all.Add(1)
		go func() {
			defer all.Done()
			own := map[string]int{}
			for n := 0; (seconds == 0 && n < times) || (seconds > 0 && time.Now().Before(end)); n++ {
				own[one(client, url)]++
				time.Sleep(pause)
			}
			lock.Lock()
			defer lock.Unlock()
			for what, count := range own {
				answers[what] += count
			}
		}()
	}
	all.Wait()
	for what, count := range answers {
		fmt.Println(what, count)
	}
}

func one(client *http.Client, url string) string {
	answer, err := client.Get(url)
	if err != nil {
		return "error 0"
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, answer.Body)
	return fmt.Sprint(answer.Proto, " ", answer.StatusCode)
}

func selfSigned() *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	about := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "web"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	raw, err := x509.CreateCertificate(rand.Reader, about, about, &key.PublicKey, key)
	must(err)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{raw}, PrivateKey: key}}}
}
