// Package logins drives whole logins, code and PKCE against an authorization server in a process of its own,
// through ours and through what others would use. The browser's leg is the same for all.
package logins

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"
)

const (
	clientID     = "web-frontend"
	clientSecret = "bench-secret-0123456789abcdef0123456789abcdef"
	origin       = "https://app.example"
	redirectURI  = origin + "/auth/callback"
	algorithm    = "ES256"
	subject      = "9f1c2f0e-6f0a-4a53-9d0b-2a7c6f1d3e55"
)

// authorizationServer is the least that all clients accept: everybody is logged in at once, every code works
// once, and every refresh token as often as one likes. It holds its clients to PKCE and to their secret and issues tokens of
// usual sizes.
type authorizationServer struct {
	issuer    string
	key       *ecdsa.PrivateKey
	filler    string
	refreshed string // the rest of an access token after a refresh, in the form of a JWT
	latency   time.Duration

	mu    sync.Mutex
	codes map[string]pending
}

type pending struct{ challenge, nonce string }

// Server is the role of a child process: it reports the issuer. The argument is how long it takes for a refresh, such as
// "20ms", or empty.
func Server(argument string) (report []string, stop func(), err error) {
	s := &authorizationServer{codes: map[string]pending{}, filler: random(780), refreshed: "." + random(507) + "." + random(271)}
	if argument != "" {
		if s.latency, err = time.ParseDuration(argument); err != nil {
			return nil, nil, err
		}
	}
	if s.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	s.issuer = "http://" + l.Addr().String()
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", s.metadata)
	mux.HandleFunc("/jwks", s.jwks)
	mux.HandleFunc("/authorize", s.authorize)
	mux.HandleFunc("/token", s.token)
	mux.HandleFunc("/userinfo", s.userInfo)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(l) }()
	return []string{s.issuer}, func() { _ = server.Close() }, nil
}

func base64url(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func random(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return base64url(b)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, _ := json.Marshal(v)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

func (s *authorizationServer) metadata(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{
		"issuer": s.issuer, "authorization_endpoint": s.issuer + "/authorize", "token_endpoint": s.issuer + "/token",
		"jwks_uri": s.issuer + "/jwks", "userinfo_endpoint": s.issuer + "/userinfo", "response_types_supported": []string{"code"},
		"subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{algorithm},
		"code_challenge_methods_supported": []string{"S256"}, "token_endpoint_auth_methods_supported": []string{"client_secret_basic"},
		"authorization_response_iss_parameter_supported": true,
	})
}

func (s *authorizationServer) jwks(w http.ResponseWriter, _ *http.Request) {
	point, err := s.key.PublicKey.Bytes()
	if err != nil {
		http.Error(w, "key", http.StatusInternalServerError)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"keys": []any{map[string]string{
		"kty": "EC", "crv": "P-256", "kid": "k1", "use": "sig", "alg": algorithm, "x": base64url(point[1:33]), "y": base64url(point[33:]),
	}}})
}

func (s *authorizationServer) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if q.Get("client_id") != clientID || q.Get("response_type") != "code" || q.Get("redirect_uri") != redirectURI || q.Get("code_challenge_method") != "S256" {
		http.Error(w, "bad authorization request", http.StatusBadRequest)
		return
	}
	code := random(24)
	s.mu.Lock()
	s.codes[code] = pending{q.Get("code_challenge"), q.Get("nonce")}
	s.mu.Unlock()
	w.Header().Set("Location", redirectURI+"?"+url.Values{"code": {code}, "state": {q.Get("state")}, "iss": {s.issuer}}.Encode())
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusFound)
}

func (s *authorizationServer) token(w http.ResponseWriter, r *http.Request) {
	refuse := func(code string) { writeJSON(w, http.StatusBadRequest, map[string]string{"error": code}) }
	if r.ParseForm() != nil {
		refuse("invalid_request")
		return
	}
	if id, secret, ok := r.BasicAuth(); !ok || id != clientID || secret != clientSecret {
		refuse("invalid_client")
		return
	}
	if r.PostForm.Get("grant_type") == "refresh_token" && r.PostForm.Get("refresh_token") != "" {
		time.Sleep(s.latency)
		writeJSON(w, http.StatusOK, map[string]any{
			"access_token": random(45) + s.refreshed, "token_type": "Bearer", "expires_in": 3600, "refresh_token": random(150), "scope": "openid",
		})
		return
	}
	if r.PostForm.Get("grant_type") != "authorization_code" || r.PostForm.Get("redirect_uri") != redirectURI {
		refuse("invalid_request")
		return
	}
	code := r.PostForm.Get("code")
	s.mu.Lock()
	p, ok := s.codes[code]
	delete(s.codes, code)
	s.mu.Unlock()
	verifier := sha256.Sum256([]byte(r.PostForm.Get("code_verifier")))
	if !ok || p.challenge != base64url(verifier[:]) {
		refuse("invalid_grant")
		return
	}
	accessToken := random(45) + s.filler
	writeJSON(w, http.StatusOK, map[string]any{
		"access_token": accessToken, "token_type": "Bearer", "expires_in": 3600, "refresh_token": random(150),
		"scope": "openid", "id_token": s.idToken(p.nonce, accessToken),
	})
}

func (s *authorizationServer) idToken(nonce, accessToken string) string {
	now := time.Now().Unix()
	hash := sha256.Sum256([]byte(accessToken))
	claims := map[string]any{
		"iss": s.issuer, "sub": subject, "aud": clientID, "exp": now + 3600, "iat": now, "auth_time": now - 5, "at_hash": base64url(hash[:16]),
		"email": "alice.liddell@example.com", "email_verified": true, "name": "Alice Liddell", "preferred_username": "alice", "groups": []string{"admin", "dev", "ops"},
	}
	if nonce != "" {
		claims["nonce"] = nonce
	}
	payload, _ := json.Marshal(claims)
	input := base64url([]byte(`{"alg":"`+algorithm+`","kid":"k1","typ":"JWT"}`)) + "." + base64url(payload)
	digest := sha256.Sum256([]byte(input))
	x, y, err := ecdsa.Sign(rand.Reader, s.key, digest[:])
	if err != nil {
		return ""
	}
	signature := make([]byte, 64)
	x.FillBytes(signature[:32])
	y.FillBytes(signature[32:])
	return input + "." + base64url(signature)
}

func (s *authorizationServer) userInfo(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{"sub": subject, "name": "Alice Liddell", "email": "alice.liddell@example.com", "picture": "https://cdn.example.com/alice.png"})
}
