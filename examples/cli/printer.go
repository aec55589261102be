package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// printer writes the messages of an exchange with their secrets masked.
type printer struct {
	mu    sync.Mutex
	out   io.Writer
	steps int
}

// secrets are the parameters and members whose values are never printed whole.
var secrets = []string{"code", "state", "nonce", "code_verifier", "code_challenge", "client_secret", "access_token", "refresh_token", "id_token", "token"}

// mask leaves enough of a value to tell two apart.
func mask(v string) string {
	if len(v) < 16 {
		return "…"
	}
	return v[:3] + "…" + fmt.Sprintf("(%d)", len(v))
}

func (p *printer) printf(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, format, args...)
}

// step opens a numbered step with the reason for it.
func (p *printer) step(name, why string) {
	p.steps++
	p.printf("\n%d. %s\n   %s\n", p.steps, name, why)
}

func (p *printer) note(text string) { p.printf("\n%s\n", text) }

func (p *printer) result(what string, pairs ...string) {
	p.printf("   = %s\n", what)
	for i := 0; i+1 < len(pairs); i += 2 {
		p.printf("     %s: %s\n", pairs[i], pairs[i+1])
	}
}

// front prints a message that the browser carries.
func (p *printer) front(method, target string) {
	u, err := url.Parse(target)
	if err != nil {
		return
	}
	q := u.Query()
	u.RawQuery = ""
	p.printf("   ~ browser: %s %s\n", method, u)
	p.values(q)
}

func (p *printer) values(v url.Values) {
	for _, name := range slices.Sorted(maps.Keys(v)) {
		for _, value := range v[name] {
			if slices.Contains(secrets, name) {
				value = mask(value)
			}
			p.printf("       %s = %s\n", name, value)
		}
	}
}

// watch prints every message of the back channel that passes through it.
func (p *printer) watch(base http.RoundTripper) http.RoundTripper {
	return watcher{p, base}
}

type watcher struct {
	printer *printer
	base    http.RoundTripper
}

func (w watcher) RoundTrip(r *http.Request) (*http.Response, error) {
	p := w.printer
	p.printf("   > %s %s\n", r.Method, r.URL)
	if a := r.Header.Get("Authorization"); a != "" {
		scheme, _, _ := strings.Cut(a, " ")
		p.printf("       Authorization: %s …\n", scheme)
	}
	if r.Body != nil && r.Method == http.MethodPost {
		b, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil {
			return nil, err
		}
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(b))
		if form, err := url.ParseQuery(string(b)); err == nil {
			p.values(form)
		}
	}
	resp, err := w.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	resp.Body.Close()
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(b))
	p.printf("   < %d %s\n", resp.StatusCode, http.StatusText(resp.StatusCode))
	p.members(b)
	return resp, nil
}

// members prints a JSON answer, one member a line, long ones cut.
func (p *printer) members(b []byte) {
	var doc map[string]json.RawMessage
	if json.Unmarshal(b, &doc) != nil {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(doc)) {
		value := string(doc[name])
		if slices.Contains(secrets, name) {
			var s string
			json.Unmarshal(doc[name], &s)
			value = mask(s)
		}
		if len(value) > 100 {
			value = value[:100] + "…"
		}
		p.printf("       %s: %s\n", name, strings.ToValidUTF8(value, "?"))
	}
}
