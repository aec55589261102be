// Package sessions builds, for each way of keeping a session, a handler that reads it and the cookies of a
// request that carries it. All of them keep the same session.
package sessions

import (
	"encoding/base64"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Record is what an authenticated request carries, about 1.7 KB.
type Record struct {
	AccessToken  string // 1.1 KB, in the form of a JWT
	RefreshToken string // 200 bytes
	Claims       string // of the ID token: about 400 bytes of JSON
	Expiry       int64  // of the access token, seconds since 1970
}

const (
	issuer   = "https://login.example.com/realms/main"
	subject  = "9f1c2f0e-6f0a-4a53-9d0b-2a7c6f1d3e55"
	sid      = "08a5019c-17e1-4977-8f42-65a12843ea02"
	clientID = "web-frontend"
	claims   = `{"iss":"` + issuer + `","sub":"` + subject + `","aud":"` + clientID + `","exp":1893456000,"iat":1763700000,"auth_time":1763699990,"nonce":"n-0S6_WzA2Mj1x8bK3","acr":"urn:mace:incommon:iap:silver","sid":"` + sid + `","email":"alice.liddell@example.com","email_verified":true,"name":"Alice Liddell","preferred_username":"alice","groups":["admin","dev","ops"]}`

	accessTokenLength  = 1100
	refreshTokenLength = 200
)

// NewRecord returns the one session of the benchmarks, valid for an hour. Its tokens are always the same.
func NewRecord() *Record { return newRecord(rand.NewPCG(1, 2)) }

func newRecord(source rand.Source) *Record {
	r := rand.New(source)
	text := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	return &Record{
		AccessToken:  text(60) + "." + text(507) + "." + text(256),
		RefreshToken: text(150),
		Claims:       claims,
		Expiry:       time.Now().Add(time.Hour).Unix(),
	}
}

var hello = []byte("hello\n")

// answer is what every handler does with the session that it got.
func answer(w http.ResponseWriter, accessToken, refreshToken, claims string, expiry int64) {
	if len(accessToken) != accessTokenLength || len(refreshToken) != refreshTokenLength || len(claims) < 390 || expiry < time.Now().Unix() {
		refuse(w)
		return
	}
	_, _ = w.Write(hello)
}

func (s *Record) answer(w http.ResponseWriter) {
	answer(w, s.AccessToken, s.RefreshToken, s.Claims, s.Expiry)
}

func refuse(w http.ResponseWriter) { w.WriteHeader(http.StatusUnauthorized) }

// Sink is a ResponseWriter that keeps the header and counts the rest, so that it costs next to nothing.
type Sink struct {
	Status  int
	Written int

	header http.Header
}

// NewSink returns an empty one.
func NewSink() *Sink { return &Sink{header: http.Header{}} }

func (w *Sink) Header() http.Header         { return w.header }
func (w *Sink) WriteHeader(status int)      { w.Status = status }
func (w *Sink) Write(p []byte) (int, error) { w.Written += len(p); return len(p), nil }

// Reset empties it.
func (w *Sink) Reset() {
	clear(w.header)
	w.Status, w.Written = 0, 0
}

// LetIn reports whether the handler had its session.
func (w *Sink) LetIn() bool { return w.Status == 0 && w.Written == len(hello) }

// NewRequest is a page's background request with these cookies.
func NewRequest(cookie string) *http.Request {
	r := &http.Request{Method: "GET", URL: &url.URL{Path: "/"}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Host: "app.example", Header: http.Header{}}
	if cookie != "" {
		r.Header["Cookie"] = []string{cookie}
	}
	return r
}

// CookieHeader is what a browser sends back after a response with this header.
func CookieHeader(h http.Header) string {
	var pairs []string
	for _, c := range (&http.Response{Header: h}).Cookies() {
		if c.MaxAge >= 0 {
			pairs = append(pairs, c.Name+"="+c.Value)
		}
	}
	return strings.Join(pairs, "; ")
}
