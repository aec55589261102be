package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/client/authtest"
)

// setting is who talks to whom: the client, its loopback redirect URI, and the
// embedded server if there is one.
type setting struct {
	client   *client.Client
	printer  *printer
	listener net.Listener
	server   *authtest.Server
	auto     bool
	timeout  time.Duration
}

func newSetting(out io.Writer, o options) (*setting, error) {
	s := &setting{printer: &printer{out: out}, auto: o.auto || o.issuer == "", timeout: o.timeout}
	// A loopback literal and a free port, open only while this runs (RFC 8252 §7.3, §8.3).
	var err error
	if s.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		if s.listener, err = net.Listen("tcp", "[::1]:0"); err != nil {
			return nil, err
		}
	}
	redirect := "http://" + s.listener.Addr().String() + "/callback"
	if o.issuer == "" {
		o.clientID, o.secret = "sallyport-cli", rand.Text()
		s.server = authtest.NewServer(authtest.Config{Clients: []authtest.Client{{ID: o.clientID, Secret: o.secret, RedirectURIs: []string{redirect}}}})
		o.issuer = s.server.Issuer()
	}
	cfg := client.Config{
		Issuer: o.issuer, ClientID: o.clientID, Authentication: client.SecretBasic(client.Secret(o.secret)),
		RedirectURI: redirect, Scopes: strings.Fields(o.scopes), Timeout: 10 * time.Second,
	}
	cfg.Transport = s.printer.watch(http.DefaultTransport.(*http.Transport).Clone())
	if s.client, err = client.New(cfg); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *setting) close() {
	s.listener.Close()
	if s.server != nil {
		s.server.Close()
	}
}

// consent gets the user through the authorization endpoint and returns the
// request that came to the redirect URI.
func (s *setting) consent(ctx context.Context, url string) (*http.Request, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	if s.server != nil {
		answer, err := s.server.Authorize(ctx, url)
		if err != nil {
			return nil, err
		}
		return answer.Request(ctx)
	}
	came := make(chan *http.Request, 1)
	server := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.callback(w, r, came)
	})}
	go server.Serve(s.listener)
	defer server.Close()
	if s.auto {
		go follow(ctx, url)
	} else {
		s.printer.note("Open this URL in a browser:\n\n  " + url + "\n")
		open(url)
	}
	select {
	case r := <-came:
		return r, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("nobody came back to the redirect URI: %w", ctx.Err())
	}
}

// callback takes the first request that is meant for the redirect URI. A page
// that a rebound DNS name serves has another Host, and is not heard.
func (s *setting) callback(w http.ResponseWriter, r *http.Request, came chan<- *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	switch {
	case r.Host != s.listener.Addr().String() || r.URL.EscapedPath() != "/callback":
		http.Error(w, "not found", http.StatusNotFound)
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", http.MethodGet)
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	default:
		select {
		case came <- r.Clone(context.WithoutCancel(r.Context())):
			io.WriteString(w, "You can close this window and go back to the terminal.\n")
		default:
			http.Error(w, "already answered", http.StatusConflict)
		}
	}
}

// follow is the browser of -auto: it only follows redirects, which is enough
// for a server where consent needs nobody.
func follow(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return errors.New("the authorization endpoint did not answer")
	}
	return resp.Body.Close()
}

// open asks the desktop for a browser; where there is none, the printed URL has to do.
func open(url string) {
	name := map[string]string{"darwin": "open", "windows": "explorer"}[runtime.GOOS]
	if name == "" {
		name = "xdg-open"
	}
	if path, err := exec.LookPath(name); err == nil {
		exec.Command(path, url).Start()
	}
}
