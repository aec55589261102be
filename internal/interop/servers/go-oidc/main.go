// An OpenID provider on github.com/luikyv/go-oidc: PKCE required, refresh tokens rotated, `iss` in every response.
//
// It listens on a free port of 127.0.0.1 and prints "READY <issuer>".
// Environment: CLIENTS (the file clients.json), REDIRECT_URIS and POST_LOGOUT_URIS (space separated),
// ACCESS_TTL (seconds, default 3600), TRACE=1 (each refused request on standard error).
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"html/template"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/luikyv/go-oidc/pkg/goidc"
	"github.com/luikyv/go-oidc/pkg/provider"
)

type registrations struct {
	User, Password string
	Clients        []struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
		Method string `json:"token_endpoint_auth_method"`
	}
}

func main() {
	log.SetFlags(0)
	var reg registrations
	b, err := os.ReadFile(os.Getenv("CLIENTS"))
	if err == nil {
		err = json.Unmarshal(b, &reg)
	}
	if err != nil {
		log.Fatal(err)
	}
	ttl, err := strconv.Atoi(os.Getenv("ACCESS_TTL"))
	if err != nil {
		ttl = 3600
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	issuer := "http://" + listener.Addr().String()

	op, err := newProvider(issuer, reg, ttl)
	if err != nil {
		log.Fatal(err)
	}
	srv := &http.Server{Handler: op.Handler(), ReadHeaderTimeout: 5 * time.Second}
	go func() {
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, syscall.SIGTERM, os.Interrupt)
		<-stop
		srv.Close()
	}()
	fmt.Println("READY", issuer)
	if err := srv.Serve(listener); err != http.ErrServerClosed {
		log.Fatal(err)
	}
}

func newProvider(issuer string, reg registrations, ttl int) (*provider.Provider, error) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	jwks := goidc.JSONWebKeySet{Keys: []goidc.JSONWebKey{
		{Key: rsaKey, KeyID: "rs", Algorithm: "RS256", Use: "sig"},
		{Key: ecKey, KeyID: "es", Algorithm: "ES256", Use: "sig"},
	}}

	var clients []*goidc.Client
	for _, c := range reg.Clients {
		method := goidc.AuthnMethod(c.Method)
		clients = append(clients, &goidc.Client{ID: c.ID, Secret: c.Secret, ClientMeta: goidc.ClientMeta{
			Name:                       c.ID,
			RedirectURIs:               strings.Fields(os.Getenv("REDIRECT_URIS")),
			PostLogoutRedirectURIs:     strings.Fields(os.Getenv("POST_LOGOUT_URIS")),
			GrantTypes:                 []goidc.GrantType{goidc.GrantAuthorizationCode, goidc.GrantRefreshToken},
			ResponseTypes:              []goidc.ResponseType{goidc.ResponseTypeCode},
			ScopeIDs:                   "openid profile email offline_access",
			TokenAuthnMethod:           method,
			TokenRevocationAuthnMethod: method,
		}})
	}

	login := &login{issuer: issuer, user: reg.User, password: reg.Password, sessions: map[string]session{}}
	opts := []provider.Option{
		provider.WithStaticClients(clients[0], clients[1:]...),
		provider.WithScopes(goidc.ScopeOpenID, goidc.ScopeOfflineAccess, goidc.ScopeProfile, goidc.ScopeEmail),
		provider.WithClaims("email", "email_verified", "name", "preferred_username"),
		provider.WithIssuerResponseParameter(),
		provider.WithAuthorizationCodeGrant(),
		provider.WithRefreshTokenGrant(),
		provider.WithRefreshTokenRotation(),
		provider.WithRefreshTokenLifetime(86400),
		provider.WithPKCERequired(goidc.CodeChallengeMethodSHA256),
		provider.WithTokenAuthnMethods(goidc.AuthnMethodSecretBasic, goidc.AuthnMethodSecretPost),
		provider.WithTokenRevocation(func(context.Context, *goidc.Client) bool { return true }),
		provider.WithIDTokenSignatureAlgs(goidc.RS256, goidc.ES256),
		provider.WithTokenOptions(func(context.Context, *goidc.Grant, *goidc.Client) goidc.TokenOptions {
			return goidc.NewOpaqueTokenOptions(ttl)
		}),
		provider.WithIDTokenClaims(func(_ context.Context, g *goidc.Grant) map[string]any {
			if t, ok := g.Store["auth_time"]; ok {
				return map[string]any{"auth_time": t}
			}
			return nil
		}),
		provider.WithUserInfoClaims(func(_ context.Context, g *goidc.Grant) map[string]any {
			return map[string]any{"email": g.Subject, "email_verified": true, "name": "Alice Example", "preferred_username": "alice"}
		}),
		provider.WithPolicies(goidc.NewPolicy("main",
			func(*http.Request, *goidc.Client, *goidc.AuthnSession) bool { return true }, login.authenticate)),
		provider.WithLogout(func(w http.ResponseWriter, _ *http.Request, _ *goidc.LogoutSession) error {
			_, err := fmt.Fprint(w, "<html><body>logged out</body></html>")
			return err
		}, goidc.NewLogoutPolicy("main",
			func(*http.Request, *goidc.LogoutSession) bool { return true }, login.end)),
		provider.WithRenderErrorFunc(func(w http.ResponseWriter, _ *http.Request, err error) error {
			w.WriteHeader(http.StatusBadRequest)
			_, werr := fmt.Fprintf(w, "<html><body><h1>error</h1><p>%s</p></body></html>", template.HTMLEscapeString(err.Error()))
			return werr
		}),
	}
	if os.Getenv("TRACE") != "" {
		opts = append(opts, provider.WithNotifyErrorFunc(func(_ context.Context, err error) { log.Println("refused:", err) }))
	}
	return provider.New(goidc.ProfileOpenID, issuer,
		func(context.Context) (goidc.JSONWebKeySet, error) { return jwks, nil }, opts...)
}

var page = template.Must(template.New("login").Parse(`<!DOCTYPE html><html><body><p>{{.Message}}</p>
<form method="post" action="{{.Issuer}}/authorize/{{.ID}}">
<input type="text" name="username"><input type="password" name="password">
<button type="submit">Continue</button></form></body></html>`))

type session struct {
	subject  string
	authTime int
}

// login is the provider's own login page and its cookie session.
type login struct {
	issuer, user, password string

	mu       sync.Mutex
	sessions map[string]session
}

const sessionCookie = "interop_session"

func (l *login) authenticate(w http.ResponseWriter, r *http.Request, as *goidc.AuthnSession) (goidc.Status, error) {
	if as.Store == nil {
		as.Store = map[string]any{}
	}
	if s, ok := l.current(r, as); ok && as.Prompt != goidc.PromptTypeLogin {
		as.Subject, as.Store["auth_time"] = s.subject, s.authTime
	}
	if as.Subject == "" {
		if as.Prompt == goidc.PromptTypeNone {
			return goidc.StatusFailure, goidc.NewError(goidc.ErrorCodeLoginRequired, "user not logged in")
		}
		user, password := r.PostFormValue("username"), r.PostFormValue("password")
		if user != l.user || password != l.password {
			message := ""
			if user != "" {
				message = "wrong user or password"
			}
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			err := page.Execute(w, map[string]any{"Issuer": l.issuer, "ID": as.CallbackID, "Message": message})
			return goidc.StatusInProgress, err
		}
		s := session{user, int(time.Now().Unix())}
		as.Subject, as.Store["auth_time"] = s.subject, s.authTime
		id := rand.Text()
		l.mu.Lock()
		l.sessions[id] = s
		l.mu.Unlock()
		http.SetCookie(w, &http.Cookie{Name: sessionCookie, Value: id, Path: "/", HttpOnly: true})
	}
	as.GrantedScopes = as.Scopes
	return goidc.StatusSuccess, nil
}

func (l *login) current(r *http.Request, as *goidc.AuthnSession) (session, bool) {
	c, err := r.Cookie(sessionCookie)
	if err != nil {
		return session{}, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s, ok := l.sessions[c.Value]
	if ok && as.MaxAuthnAgeSecs != nil && int(time.Now().Unix()) > s.authTime+*as.MaxAuthnAgeSecs {
		return session{}, false
	}
	return s, ok
}

func (l *login) end(_ http.ResponseWriter, r *http.Request, _ *goidc.LogoutSession) (goidc.Status, error) {
	if c, err := r.Cookie(sessionCookie); err == nil {
		l.mu.Lock()
		delete(l.sessions, c.Value)
		l.mu.Unlock()
	}
	return goidc.StatusSuccess, nil
}
