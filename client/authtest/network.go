package authtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// network is the server's plug: the listener, if it has one, and whether the
// cable is in.
type network struct {
	certificate *tls.Certificate
	closed      chan struct{} // by Close: ends every stall
	out         atomic.Int32  // how many Unplug are in force

	mu       sync.Mutex
	address  string // empty: somebody else listens, or nobody
	handler  http.Handler
	listener net.Listener
	server   *http.Server
	done     bool
}

func (n *network) unplugged() bool { return n.out.Load() > 0 }

func (n *network) start(listener net.Listener, handler http.Handler) {
	n.address, n.handler = listener.Addr().String(), handler
	n.serve(listener)
}

func (n *network) serve(listener net.Listener) {
	server := &http.Server{
		Handler:           n.handler,
		ReadHeaderTimeout: time.Minute,
		// What clients under test do to their connections is no news.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	n.listener, n.server = listener, server
	if n.certificate == nil {
		go func() { _ = server.Serve(listener) }()
		return
	}
	server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*n.certificate}, MinVersion: tls.VersionTLS12}
	go func() { _ = server.ServeTLS(listener, "", "") }()
}

// Unplug takes the server off the network: connections are cut and new ones
// refused, also through [Server.Transport], until the returned function is
// called. A server behind somebody else's listener can only cut connections.
// plug fails if another program has taken the port meanwhile.
func (s *Server) Unplug() (plug func() error) {
	n := &s.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.out.Add(1) == 1 {
		n.cut()
	}
	return sync.OnceValue(func() error {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.out.Load() == 1 && n.address != "" && !n.done {
			listener, err := net.Listen("tcp", n.address)
			if err != nil {
				return fmt.Errorf("authtest: cannot listen again: %w", err)
			}
			n.serve(listener)
		}
		n.out.Add(-1)
		return nil
	})
}

// Close stops the server, cuts its connections and ends stalled answers. A
// server made by New only does the last; its listener is its owner's.
func (s *Server) Close() {
	n := &s.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.done {
		return
	}
	n.done = true
	close(n.closed)
	n.cut()
}

// cut closes the listener and all connections. The caller holds n.mu.
func (n *network) cut() {
	if n.server == nil {
		return
	}
	// The server does not know its listener before its goroutine runs.
	_ = n.listener.Close()
	_ = n.server.Close()
}

var errRefused = errors.New("authtest: the server is unplugged")

// selfSigned makes a certificate for loopback addresses and a pool that trusts it.
func selfSigned() (*tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(fmt.Sprintf("authtest: cannot make a key: %v", err))
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: "authtest"},
		// Wide enough for any clock a test may set.
		NotBefore:             time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:              time.Date(2190, 1, 1, 0, 0, 0, 0, time.UTC),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
		DNSNames:              []string{"localhost"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(fmt.Sprintf("authtest: cannot make a certificate: %v", err))
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(fmt.Sprintf("authtest: cannot read a certificate: %v", err))
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
}
