package authtest

import (
	"net/http"
	"net/url"
	"sync"
	"time"
)

// Request is one request that arrived, as it arrived: credentials and tokens
// included. Its maps are shared; do not change them.
type Request struct {
	Endpoint Endpoint // empty: no endpoint has this path
	Time     time.Time
	Method   string
	Path     string // escaped, as sent
	Header   http.Header
	Query    url.Values
	Form     url.Values // the body's parameters
	Body     string
}

// maxLog bounds the memory of a server that a benchmark uses for an hour.
const maxLog = 4096

type requestLog struct {
	mu     sync.Mutex
	counts map[Endpoint]int
	ring   []*Request
	next   int // where the next one goes once the ring is full
}

func (l *requestLog) add(r *Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.counts == nil {
		l.counts = make(map[Endpoint]int)
	}
	if r.Endpoint != BackchannelLogout { // it did not arrive
		l.counts[""]++
	}
	if r.Endpoint != "" {
		l.counts[r.Endpoint]++
	}
	if len(l.ring) < maxLog {
		l.ring = append(l.ring, r)
		return
	}
	l.ring[l.next] = r
	l.next = (l.next + 1) % maxLog
}

// Requests counts the requests that arrived at an endpoint so far, answered or
// not. With "" it counts all, also those to paths where there is no endpoint; it
// panics if e is no endpoint at all.
func (s *Server) Requests(e Endpoint) int {
	known(e)
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	return s.log.counts[e]
}

// Log returns the requests that arrived at an endpoint, oldest first; with ""
// all of them. The server remembers the last 4,096 of all endpoints together.
func (s *Server) Log(e Endpoint) []Request {
	known(e)
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	var out []Request
	for i := range s.log.ring {
		r := s.log.ring[(s.log.next+i)%len(s.log.ring)]
		if e == "" || r.Endpoint == e {
			out = append(out, *r)
		}
	}
	return out
}
