package middleware

import (
	"net/http"
	"strings"
)

// isNavigation reports whether a redirect into a login would be seen by a person: a browser loads a page into a tab.
// Everything else (fetch, images, scripts, frames, command lines) gets an answer that a program can read.
func isNavigation(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	h := r.Header
	mode, dest := h.Get("Sec-Fetch-Mode"), h.Get("Sec-Fetch-Dest")
	if mode == "" && dest == "" && h.Get("Sec-Fetch-Site") == "" { // a browser that sends no Fetch Metadata, or no browser
		return acceptsHTML(h)
	}
	return mode == "navigate" && (dest == "" || dest == "document")
}

// acceptsHTML reports whether text/html stands in Accept by name; the wildcard of programs is no wish for a page.
func acceptsHTML(h http.Header) bool {
	for _, line := range h["Accept"] {
		for item := range strings.SplitSeq(line, ",") {
			media, params, _ := strings.Cut(item, ";")
			if strings.EqualFold(strings.TrimSpace(media), "text/html") && !strings.Contains(strings.ReplaceAll(params, " ", "")+";", "q=0;") {
				return true
			}
		}
	}
	return false
}

// isSpeculative reports whether nobody asked for this page yet: a prefetch or prerender.
func isSpeculative(r *http.Request) bool {
	for _, name := range [...]string{"Sec-Purpose", "Purpose", "X-Purpose", "X-Moz"} {
		for _, v := range r.Header[name] {
			v = strings.ToLower(v)
			if strings.Contains(v, "prefetch") || strings.Contains(v, "prerender") || strings.Contains(v, "preview") {
				return true
			}
		}
	}
	return false
}

// isEmbedded reports whether another page wants the answer as a part of itself (an image, a frame, a fetch), seen from its Fetch Metadata.
// Without the headers there is nothing to tell and the answer is false.
func isEmbedded(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none":
		return false
	}
	mode, dest := r.Header.Get("Sec-Fetch-Mode"), r.Header.Get("Sec-Fetch-Dest")
	return mode != "" && mode != "navigate" || dest != "" && dest != "document"
}

// isForeignRead reports whether a page of another origin reads with the user's cookies: SameSite lets sibling subdomains do that.
// Following a link is no such read.
func isForeignRead(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
		return false
	}
	return r.Header.Get("Sec-Fetch-Mode") != "navigate"
}

// crossOrigin returns an error if a request that may change something comes from a page of another origin (BBA §6.1.3.3).
func (a *Auth) crossOrigin(r *http.Request) error {
	if err := a.csrf.Check(r); err != nil {
		return err
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return nil
	}
	// The standard library lets an Origin pass whose host is that of the request, whatever the scheme.
	// The one origin is known here, so a browser without Fetch Metadata is held to it.
	if o := r.Header.Get("Origin"); o != "" && r.Header.Get("Sec-Fetch-Site") == "" && !a.trusted[o] {
		return errCrossOrigin
	}
	return nil
}

// foreignRead is crossOrigin for the methods that should change nothing, and for WebSocket handshakes.
func (a *Auth) foreignRead(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if r.Header.Get("Sec-Fetch-Site") == "" { // an old browser names the origin in CORS reads and handshakes
		return origin != "" && !a.trusted[origin]
	}
	return isForeignRead(r) && !a.trusted[origin]
}
