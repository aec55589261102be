package middleware

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// sessionInfo is what a page's script may know about its session. Never a token.
type sessionInfo struct {
	Authenticated        bool       `json:"authenticated"`
	Subject              string     `json:"subject,omitempty"`
	Issuer               string     `json:"issuer,omitempty"`
	Scopes               []string   `json:"scopes,omitzero"` // an array whenever somebody is logged in
	ExpiresAt            *time.Time `json:"expires_at,omitempty"`
	AccessTokenExpiresAt *time.Time `json:"access_token_expires_at,omitempty"`
}

// serveSession answers BasePath/session. Whatever is wrong with the cookies, the answer is "not authenticated" (C-BFF-8); a store that
// does not answer is 503.
// It moves no idle deadline: a page that polls would keep its session alive for ever.
func (a *Auth) serveSession(w http.ResponseWriter, r *http.Request) {
	if a.foreignRead(r) {
		a.deny(w, r, errCrossOrigin, false)
		return
	}
	var info sessionInfo
	s, err := a.Session(r)
	switch {
	case isUnavailable(err):
		a.deny(w, r, err, false)
		return
	case err == nil:
		info = sessionInfo{Authenticated: true, Subject: s.Subject(), Issuer: s.Issuer(), Scopes: append([]string{}, s.Scopes()...), ExpiresAt: utc(s.ExpiresAt()), AccessTokenExpiresAt: utc(s.AccessTokenExpiry())}
	default:
		a.forget(w, r, err)
	}
	body, _ := json.Marshal(info) // strings, times and a bool: cannot fail
	secure(w)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body)
	}
}

// utc is t for JSON; nil if it is not known.
func utc(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC().Truncate(time.Second)
	return &t
}
