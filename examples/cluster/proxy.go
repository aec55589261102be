package main

import (
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
)

// proxy sends each request to the next replica, as load balancers without stickiness do; if that one is not there, to the one after.
type proxy struct {
	backends []*httputil.ReverseProxy
	next     atomic.Uint64
}

type missed struct{}

func newProxy(replicas []*replica) *proxy {
	p := &proxy{}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 256
	for _, r := range replicas {
		target := &url.URL{Scheme: "http", Host: r.addr}
		p.backends = append(p.backends, &httputil.ReverseProxy{
			Transport: transport,
			Rewrite: func(pr *httputil.ProxyRequest) {
				pr.SetURL(target)
				pr.Out.Host = pr.In.Host // the callback is refused under any host but the registered one
			},
			ErrorHandler: func(w http.ResponseWriter, r *http.Request, _ error) {
				if m, ok := r.Context().Value(missed{}).(*bool); ok {
					*m = true
				}
			},
		})
	}
	return p
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for range p.backends {
		backend := p.backends[p.next.Add(1)%uint64(len(p.backends))]
		gone := false
		backend.ServeHTTP(w, r.WithContext(withMissed(r.Context(), &gone)))
		if !gone {
			return
		}
		if r.Method != http.MethodGet || r.URL.Path == "/auth/callback" { // it may have been there, and must not be sent twice
			break
		}
	}
	w.Header().Set("Retry-After", "1")
	http.Error(w, "no replica answers", http.StatusBadGateway)
}
