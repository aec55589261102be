package middleware

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// problem is an RFC 9457 problem document. Its type is about:blank, so the title is that of the status (RFC 9457 §4.2.1); programs branch on code.
type problem struct {
	Title       string `json:"title"`
	Status      int    `json:"status"`
	Detail      string `json:"detail,omitempty"`
	Code        string `json:"code"`
	Correlation string `json:"correlation,omitempty"`
	LoginURL    string `json:"login_url,omitempty"`
	retryAfter  int
}

func (p problem) write(w http.ResponseWriter, r *http.Request) { p.render().write(w, r) }

// rendered is a problem as it is sent.
type rendered struct {
	status     int
	retryAfter int
	body       []byte
	length     string
}

func (p problem) render() rendered {
	p.Title = http.StatusText(p.Status)
	body, _ := json.Marshal(p) // strings and a number: cannot fail
	return rendered{p.Status, p.retryAfter, body, strconv.Itoa(len(body))}
}

func (p rendered) write(w http.ResponseWriter, r *http.Request) {
	secure(w)
	h := w.Header()
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	h.Set("Content-Type", "application/problem+json")
	h.Set("Content-Length", p.length)
	w.WriteHeader(p.status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(p.body)
	}
}

// seconds rounds up and keeps within what a client may be asked to wait: 1 to 60 s.
func seconds(d time.Duration) int {
	return int(min(max((d+time.Second-1)/time.Second, 1), 60))
}
