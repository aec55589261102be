package backchannel

import (
	"crypto/tls"
	"net"
	"net/http"
	"time"
)

// newTransport returns the transport for a Config without Base.
func newTransport(cfg Config, timeout time.Duration) *http.Transport {
	g := guard{allowLoopback: cfg.AllowLoopback, allowPrivate: cfg.AllowPrivate}
	// The two timeouts below look redundant beside the deadline of the call.
	// They are not: net/http detaches a dial from the request that began it, so
	// without them a server that stalls in the handshake would keep a goroutine
	// and a socket for ever.
	dialer := &net.Dialer{Timeout: timeout, Control: g.control}
	return &http.Transport{
		// Not ProxyFromEnvironment: secrets go where the configuration says,
		// and nobody who can set a variable gets to move them.
		Proxy:       nil,
		DialContext: dialer.DialContext,
		TLSClientConfig: &tls.Config{
			MinVersion: tls.VersionTLS12, // RFC 9325 §3.1.1
			RootCAs:    cfg.RootCAs,
		},
		TLSHandshakeTimeout: timeout,

		DisableCompression:     true,
		MaxResponseHeaderBytes: 64 << 10, // HTTP/2 takes it over

		MaxIdleConns:        64,
		MaxIdleConnsPerHost: 16,
		// Shorter than most servers keep theirs: a connection that the server
		// closes just as it is used again leaves a grant in doubt.
		IdleConnTimeout: 30 * time.Second,

		ForceAttemptHTTP2: true,
		// The defaults let a server send a gigabyte ahead of what we read.
		HTTP2: &http.HTTP2Config{
			MaxReceiveBufferPerConnection: 1 << 20,
			MaxReceiveBufferPerStream:     256 << 10,
			MaxReadFrameSize:              16 << 10,
			// A dead connection is noticed before a call must time out on it.
			SendPingTimeout: 10 * time.Second,
			PingTimeout:     5 * time.Second,
		},
	}
}
