package logins

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"
	cap "github.com/hashicorp/cap/oidc"
	"github.com/hashicorp/cap/oidc/callback"
	"github.com/zitadel/oidc/v3/pkg/client/rp"
	httphelper "github.com/zitadel/oidc/v3/pkg/http"
	zitadel "github.com/zitadel/oidc/v3/pkg/oidc"
	"golang.org/x/oauth2"
)

// Names that others refer to.
const (
	HandWired         = "x/oauth2 + go-oidc by hand"
	HandWiredSession  = HandWired + ", gorilla session"
	HandWiredUserInfo = HandWired + ", userinfo"
	Floor             = "floor: net/http + one verify"
)

var (
	hashKey  = []byte("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")
	blockKey = []byte("abcdef0123456789abcdef0123456789")
)

// Peers are the floor and what others use.
func Peers() []Peer {
	return []Peer{
		{Floor, floor},
		{HandWired, func(issuer string) (*Flow, error) { return handWired(issuer, false, false) }},
		{HandWiredSession, func(issuer string) (*Flow, error) { return handWired(issuer, true, false) }},
		{HandWiredUserInfo, func(issuer string) (*Flow, error) { return handWired(issuer, false, true) }},
		{"zitadel/oidc relying party", zitadelRP},
		{"hashicorp/cap", hashicorpCap},
	}
}

// All are the peers and ours.
func All() []Peer { return append(Peers(), Ours()...) }

type secrets struct{ State, Nonce, Verifier string }

// handWired is what a careful developer writes: state, nonce, PKCE, one ID token algorithm.
func handWired(issuer string, keep, userInfo bool) (*Flow, error) {
	provider, err := gooidc.NewProvider(context.Background(), issuer)
	if err != nil {
		return nil, err
	}
	cfg := &oauth2.Config{ClientID: clientID, ClientSecret: clientSecret, RedirectURL: redirectURI, Endpoint: provider.Endpoint(), Scopes: []string{"openid"}}
	cfg.Endpoint.AuthStyle = oauth2.AuthStyleInHeader
	verifier := provider.Verifier(&gooidc.Config{ClientID: clientID, SupportedSigningAlgs: []string{algorithm}})
	codec := securecookie.New(hashKey, blockKey)
	store := sessions.NewCookieStore(hashKey, blockKey)
	start := func(w http.ResponseWriter, r *http.Request) {
		s := secrets{random(24), random(24), oauth2.GenerateVerifier()}
		v, err := codec.Encode("login", s)
		if err != nil {
			http.Error(w, "cookie", http.StatusInternalServerError)
			return
		}
		http.SetCookie(w, &http.Cookie{Name: "login", Value: v, Path: "/", HttpOnly: true, Secure: true, MaxAge: 600})
		http.Redirect(w, r, cfg.AuthCodeURL(s.State, gooidc.Nonce(s.Nonce), oauth2.S256ChallengeOption(s.Verifier)), http.StatusFound)
	}
	finish := func(w http.ResponseWriter, r *http.Request) (string, error) {
		c, err := r.Cookie("login")
		if err != nil {
			return "", err
		}
		var s secrets
		if err := codec.Decode("login", c.Value, &s); err != nil {
			return "", err
		}
		q := r.URL.Query()
		if q.Get("state") != s.State {
			return "", fmt.Errorf("state")
		}
		token, err := cfg.Exchange(r.Context(), q.Get("code"), oauth2.VerifierOption(s.Verifier))
		if err != nil {
			return "", err
		}
		raw, _ := token.Extra("id_token").(string)
		id, err := verifier.Verify(r.Context(), raw)
		if err != nil {
			return "", err
		}
		if id.Nonce != s.Nonce {
			return "", fmt.Errorf("nonce")
		}
		var claims map[string]any
		if err := id.Claims(&claims); err != nil {
			return "", err
		}
		if userInfo {
			info, err := provider.UserInfo(r.Context(), oauth2.StaticTokenSource(token))
			if err != nil || info.Subject != id.Subject {
				return "", fmt.Errorf("userinfo: %v", err)
			}
		}
		if keep {
			session, err := store.New(r, "session")
			if err != nil {
				return "", err
			}
			session.Values["at"], session.Values["rt"], session.Values["exp"], session.Values["id"] = token.AccessToken, token.RefreshToken, token.Expiry.Unix(), raw
			if err := store.Save(r, w, session); err != nil {
				return "", err
			}
		}
		return id.Subject, nil
	}
	return &Flow{startURL: origin + "/login", done: said, start: http.HandlerFunc(start), callback: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, err := finish(w, r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_, _ = io.WriteString(w, who)
	})}, nil
}

// zitadelRP is their pair of handlers. They send no nonce unless asked to.
func zitadelRP(issuer string) (*Flow, error) {
	slog.SetDefault(slog.New(slog.DiscardHandler)) // they log each request to the default logger
	cookies := httphelper.NewCookieHandler(hashKey, blockKey)
	p, err := rp.NewRelyingPartyOIDC(context.Background(), issuer, clientID, clientSecret, redirectURI, []string{"openid"},
		rp.WithCookieHandler(cookies), rp.WithPKCE(cookies), rp.WithAuthStyle(oauth2.AuthStyleInHeader),
		rp.WithVerifierOpts(rp.WithSupportedSigningAlgorithms(algorithm)))
	if err != nil {
		return nil, err
	}
	return &Flow{
		startURL: origin + "/login", done: said,
		start: rp.AuthURLHandler(func() string { return random(24) }, p),
		callback: rp.CodeExchangeHandler(func(w http.ResponseWriter, _ *http.Request, t *zitadel.Tokens[*zitadel.IDTokenClaims], _ string, _ rp.RelyingParty) {
			_, _ = io.WriteString(w, t.IDTokenClaims.Subject)
		}, p),
	}, nil
}

// requests keeps pending logins in memory, as cap asks its users to.
type requests struct{ m sync.Map }

func (r *requests) Read(_ context.Context, state string) (cap.Request, error) {
	v, ok := r.m.LoadAndDelete(state)
	if !ok {
		return nil, cap.ErrNotFound
	}
	return v.(cap.Request), nil
}

func hashicorpCap(issuer string) (*Flow, error) {
	cfg, err := cap.NewConfig(issuer, clientID, clientSecret, []cap.Alg{algorithm}, []string{redirectURI})
	if err != nil {
		return nil, err
	}
	p, err := cap.NewProvider(cfg)
	if err != nil {
		return nil, err
	}
	pending := &requests{}
	done, err := callback.AuthCode(context.Background(), p, pending, func(_ string, t cap.Token, w http.ResponseWriter, _ *http.Request) {
		var claims map[string]any
		if err := t.IDToken().Claims(&claims); err != nil {
			http.Error(w, "claims", http.StatusBadRequest)
			return
		}
		who, _ := claims["sub"].(string)
		_, _ = io.WriteString(w, who)
	}, func(_ string, _ *callback.AuthenErrorResponse, err error, w http.ResponseWriter, _ *http.Request) {
		http.Error(w, fmt.Sprint(err), http.StatusBadRequest)
	})
	if err != nil {
		return nil, err
	}
	return &Flow{startURL: origin + "/login", done: said, callback: done, start: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		verifier, err := cap.NewCodeVerifier()
		if err != nil {
			http.Error(w, "verifier", http.StatusInternalServerError)
			return
		}
		q, err := cap.NewRequest(10*time.Minute, redirectURI, cap.WithPKCE(verifier))
		if err != nil {
			http.Error(w, "request", http.StatusInternalServerError)
			return
		}
		pending.m.Store(q.State(), q)
		u, err := p.AuthURL(r.Context(), q)
		if err != nil {
			http.Error(w, "address", http.StatusInternalServerError)
			return
		}
		http.Redirect(w, r, u, http.StatusFound)
	})}, nil
}
