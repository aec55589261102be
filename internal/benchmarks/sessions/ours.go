package sessions

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/securecookie"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/middleware"
	"github.com/sallyport/sallyport/session"
)

// Our own kinds. All read through middleware.RequireLogin, but for the keys: it writes a session that an older key
// sealed anew, so that each is read with an older key once. What the keys cost is seen without that.
const (
	Sallyport             = "sallyport"
	SallyportSecureCookie = "sallyport + SecureCookie"
	SallyportEverything   = "sallyport, Token and Claims used"
	SallyportSave         = "sallyport, Save"
	SallyportKey1         = "sallyport, Auth.Session, key 1 of 3"
	SallyportKey2         = "sallyport, Auth.Session, key 2 of 3"
	SallyportKey3         = "sallyport, Auth.Session, key 3 of 3"
)

// ForgeryNames are the names of the forgeries of Sallyport.
var ForgeryNames = []string{"flipped byte", "random nonce prefix", "random key id"}

const origin = "https://app.example"

var ringKeys = [][]byte{
	[]byte("the first key of three: 32 bytes"), []byte("the second key, as long as that."), []byte("and the third one, the eldest..."),
}

// Ours are our own kinds.
func Ours() []Kind {
	return []Kind{
		{Sallyport, func() (*Setup, error) { return ours(requireLogin, session.Config{Keys: ringKeys[:1]}) }},
		{SallyportEverything, func() (*Setup, error) {
			s, err := ours(everything, session.Config{Keys: ringKeys[:1]})
			if s != nil {
				s.Write, s.Forgeries = nil, nil // as above
			}
			return s, err
		}},
		{SallyportSecureCookie, func() (*Setup, error) {
			return ours(requireLogin, session.Config{Codecs: []securecookie.Codec{session.SecureCookie(hashKey, blockKey)}})
		}},
		{SallyportSave, savedKind},
		{SallyportKey1, func() (*Setup, error) { return keyed(0) }},
		{SallyportKey2, func() (*Setup, error) { return keyed(1) }},
		{SallyportKey3, func() (*Setup, error) { return keyed(2) }},
	}
}

type reader func(*middleware.Auth) http.Handler

// requireLogin does what answer does for the others, as far as a handler needs it: the access token and who it is. The
// rest of the record has been decoded too; claims stay JSON until somebody asks for them, as with the floor.
func requireLogin(auth *middleware.Auth) http.Handler {
	return auth.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, ok := middleware.FromContext(r.Context())
		if !ok || !usable(s) {
			refuse(w)
			return
		}
		_, _ = w.Write(hello)
	}))
}

func usable(s *session.Session) bool {
	return len(s.AccessToken()) == accessTokenLength && s.Subject() == subject && s.SID() == sid && time.Now().Before(s.AccessTokenExpiry())
}

// everything also wants the token as x/oauth2 has it, and decodes claims.
func everything(auth *middleware.Auth) http.Handler {
	return auth.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, ok := middleware.FromContext(r.Context())
		var who struct{ Name, Email string }
		if !ok || !usable(s) || len(s.Token().RefreshToken) != refreshTokenLength || s.Claims(&who) != nil || who.Name != "Alice Liddell" {
			refuse(w)
			return
		}
		_, _ = w.Write(hello)
	}))
}

// onlySession reads without writing anything.
func onlySession(auth *middleware.Auth) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := auth.Session(r)
		if err != nil || !usable(s) {
			refuse(w)
			return
		}
		_, _ = w.Write(hello)
	})
}

// application is what an application has, and the tokens of the one session.
type application struct {
	client  *client.Client
	manager *session.Manager
	auth    *middleware.Auth
	tokens  *client.Tokens
}

func newApplication(cfg session.Config) (*application, error) {
	c, err := client.New(client.Config{
		Issuer: issuer, ClientID: clientID, Authentication: client.SecretBasic(client.Secret("a secret of the benchmarks")), RedirectURI: origin + "/auth/callback",
	})
	if err != nil {
		return nil, err
	}
	m, err := session.New(cfg)
	if err != nil {
		return nil, err
	}
	auth, err := middleware.New(m, c)
	if err != nil {
		return nil, err
	}
	if m, err = m.ForOrigin(origin); err != nil {
		return nil, err
	}
	t, err := newTokens()
	return &application{c, m, auth, t}, err
}

// newTokens is the record as a login returns it.
func newTokens() (*client.Tokens, error) { return NewRecord().tokens() }

// TokensOf is what a login of the n-th of many users returns, as long as those of the record and like no other's.
func TokensOf(n int) (*client.Tokens, error) {
	r := newRecord(rand.NewPCG(1, uint64(n)))
	id := fmt.Sprintf("%012x", n)
	r.Claims = strings.NewReplacer(subject, subject[:len(subject)-len(id)]+id, sid, sid[:len(sid)-len(id)]+id).Replace(r.Claims)
	return r.tokens()
}

// tokens makes the claims those of an ES256 ID token.
func (s *Record) tokens() (*client.Tokens, error) {
	text := base64.RawURLEncoding.EncodeToString
	id, err := client.RestoreIDToken(client.Secret(text([]byte(`{"alg":"ES256","kid":"k1","typ":"JWT"}`)) + "." + text([]byte(s.Claims)) + "." + text([]byte(strings.Repeat("signature ", 7))[:64])))
	if err != nil {
		return nil, err
	}
	return &client.Tokens{
		AccessToken: client.Secret(s.AccessToken), RefreshToken: client.Secret(s.RefreshToken), TokenType: "Bearer", Expiry: time.Unix(s.Expiry, 0),
		Scopes: []string{"openid", "profile", "email"}, IDToken: id, Subject: id.Subject,
	}, nil
}

func (a *application) create(w http.ResponseWriter, r *http.Request) error {
	_, err := a.manager.Create(w, r, a.client, nil, a.tokens)
	return err
}

func (a *application) cookie() (string, error) {
	w := NewSink()
	err := a.create(w, NewRequest(""))
	return CookieHeader(w.Header()), err
}

func ours(read reader, cfg session.Config) (*Setup, error) {
	a, err := newApplication(cfg)
	if err != nil {
		return nil, err
	}
	s := &Setup{Handler: read(a.auth), Write: a.create}
	if s.Cookie, err = a.cookie(); err == nil && cfg.Codecs == nil {
		s.Forgeries, err = forge(s.Cookie)
	}
	return s, err
}

// savedKind writes a session that exists: what a moved idle deadline or a refresh costs.
func savedKind() (*Setup, error) {
	a, err := newApplication(session.Config{Keys: ringKeys[:1]})
	if err != nil {
		return nil, err
	}
	s := &Setup{Handler: onlySession(a.auth)}
	if s.Cookie, err = a.cookie(); err != nil {
		return nil, err
	}
	live, err := a.manager.Load(NewRequest(s.Cookie))
	s.Write = func(w http.ResponseWriter, r *http.Request) error { _, err := a.manager.Save(w, r, live); return err }
	return s, err
}

// keyed reads a session that the n-th of the ring's keys sealed.
func keyed(n int) (*Setup, error) {
	old, err := newApplication(session.Config{Keys: ringKeys[n : n+1]})
	if err != nil {
		return nil, err
	}
	now, err := newApplication(session.Config{Keys: ringKeys})
	if err != nil {
		return nil, err
	}
	s := &Setup{Handler: onlySession(now.auth)}
	s.Cookie, err = old.cookie()
	return s, err
}

// forge makes the forgeries of a cookie in the AEAD form: version and purpose, key id, nonce (its first half chooses the
// derived key), ciphertext. Each is made many times, so that no cache can know it.
func forge(cookie string) ([]Forgery, error) {
	name, value, _ := strings.Cut(cookie, "=")
	good, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil {
		return nil, fmt.Errorf("our cookie is not what this forges: %w", err)
	}
	random := rand.New(rand.NewPCG(3, 4))
	changes := []func([]byte){
		func(b []byte) { b[len(b)/4+random.IntN(len(b)/2)] ^= byte(1 + random.IntN(255)) },
		func(b []byte) {
			for i := range 12 {
				b[2+i] = byte(random.Uint32())
			}
		},
		func(b []byte) { b[1] ^= byte(1 + random.IntN(255)) },
	}
	var all []Forgery
	for i, change := range changes {
		f := Forgery{Name: ForgeryNames[i]}
		for range 256 {
			b := append([]byte(nil), good...)
			change(b)
			f.Cookies = append(f.Cookies, name+"="+base64.RawURLEncoding.EncodeToString(b))
		}
		all = append(all, f)
	}
	return all, nil
}
