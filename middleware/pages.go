package middleware

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"html"
	"net/http"
	"strconv"
	"strings"
)

// style is the only style of our pages; the policy names its hash, so nothing else can be slipped in.
const style = `:root{color-scheme:light dark;--ink:#1c2333;--dim:#5b6478;--paper:#f4f5f8;--card:#fff;--line:#dfe3ea;--accent:#2f5bd8}` +
	`@media(prefers-color-scheme:dark){:root{--ink:#e8ebf2;--dim:#9aa4b8;--paper:#12151c;--card:#1b202b;--line:#2c3342;--accent:#8fb0ff}}` +
	`*{box-sizing:border-box}body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1.5rem;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,sans-serif}` +
	`main{width:100%;max-width:30rem;background:var(--card);border:1px solid var(--line);border-radius:14px;padding:2rem}` +
	`h1{font-size:1.35rem;line-height:1.3;margin:0 0 .75rem}p{margin:0 0 1rem}` +
	`nav{display:grid;gap:.6rem;margin:1.5rem 0 0}a{color:var(--accent);text-align:center;text-decoration:none;padding:.65rem 1rem;border:1px solid var(--line);border-radius:9px}` +
	`a:first-child{background:var(--accent);border-color:var(--accent);color:var(--card);font-weight:600}a:focus-visible{outline:3px solid var(--accent);outline-offset:2px}` +
	`footer{margin-top:1.75rem;padding-top:1rem;border-top:1px solid var(--line);color:var(--dim);font-size:.85rem}code{font-family:ui-monospace,monospace;overflow-wrap:anywhere}`

var contentSecurityPolicy = func() string {
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}()

// secure sets the headers that every answer of our own carries.
// No answer of ours is to be kept, framed, sniffed, or named as a referrer: its address may hold a code (RFC 9700 §4.2.4).
func secure(w http.ResponseWriter) {
	h := w.Header()
	values := secureValues // a copy: one allocation for all, and nobody else's to change
	for i, name := range secureNames {
		h[name] = values[i : i+1 : i+1]
	}
}

var secureNames = [...]string{"Cache-Control", "Referrer-Policy", "X-Content-Type-Options", "Content-Security-Policy", "X-Frame-Options", "Cross-Origin-Opener-Policy", "Cross-Origin-Resource-Policy"}

var secureValues = [...]string{"no-store", "no-referrer", "nosniff", contentSecurityPolicy, "DENY", "same-origin", "same-origin"}

// redirect answers 303, which turns a form_post into a GET (OAuth 2.1 §7.5.3), with an empty body.
func redirect(w http.ResponseWriter, location string) {
	secure(w)
	w.Header().Set("Location", location)
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusSeeOther)
}

// link is one way on from a page. Both parts come from the configuration.
type link struct{ href, text string }

// page is what a person sees. Every field is our own text or the configuration's.
type page struct {
	status      int
	title, text string
	links       []link
	code        string // shown for the operator; empty when nothing went wrong
	correlation string
	retryAfter  int    // seconds
	allow       string // of a 405
}

func (p page) write(w http.ResponseWriter, r *http.Request) {
	secure(w)
	h := w.Header()
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	if p.allow != "" {
		h.Set("Allow", p.allow)
	}
	var b strings.Builder
	b.Grow(len(style) + 1024)
	b.WriteString(`<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><meta name="robots" content="noindex"><title>`)
	b.WriteString(html.EscapeString(p.title))
	b.WriteString(`</title><style>` + style + `</style></head><body><main><h1>`)
	b.WriteString(html.EscapeString(p.title))
	b.WriteString(`</h1><p>`)
	b.WriteString(html.EscapeString(p.text))
	b.WriteString(`</p>`)
	if len(p.links) > 0 {
		b.WriteString(`<nav>`)
		for _, l := range p.links {
			b.WriteString(`<a href="` + html.EscapeString(l.href) + `">` + html.EscapeString(l.text) + `</a>`)
		}
		b.WriteString(`</nav>`)
	}
	if p.code != "" {
		b.WriteString(`<footer>Code <code>` + html.EscapeString(p.code) + `</code>, reference <code>` + html.EscapeString(p.correlation) + `</code></footer>`)
	}
	b.WriteString(`</main></body></html>`)
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(b.Len()))
	w.WriteHeader(p.status)
	if r.Method != http.MethodHead {
		_, _ = w.Write([]byte(b.String()))
	}
}

// newCorrelation returns a name for one failure, of always the same length.
func newCorrelation() string { return rand.Text() }
