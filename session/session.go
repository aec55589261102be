package session

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/sallyport/sallyport/client"
)

// Limits of the attributes that an application may keep in a session.
const (
	maxAttributes     = 16
	maxAttributeBytes = 1024 // names and values of all
)

// Session is a user who is logged in, as it was when the request was read: a snapshot that nothing changes, a
// refresh neither (Manager.Fresh returns the next one). Safe for concurrent use. It is
// redacted wherever it is printed.
type Session struct {
	rec   record
	m     *Manager // nil for Test
	read  int64    // when, in seconds since 1970
	stale bool     // the cookie should be written anew: older key, or newer tokens than it holds
	// unsealed is that the store's record should be, for an older key.
	unsealed bool
	// edits are what With has changed: the next cookie is not the one that requests at the same time write.
	edits []attribute
	shown position // by the cookie that was read
}

// position is where among the writes of its session a cookie stands.
type position struct{ generation, tokenGeneration uint64 }

func (r *record) position() position { return position{r.generation, r.tokenGeneration} }

// Issuer is the issuer identifier of the server that logged the user in. (Issuer, Subject) identifies
// the user, nothing else does (OpenID Connect Core §5.7).
func (s *Session) Issuer() string { return s.rec.issuer }

// Subject identifies the user at the issuer.
func (s *Session) Subject() string { return s.rec.subject }

// ClientID is the registration that the login went through.
func (s *Session) ClientID() string { return s.rec.clientID }

// SID is the server's own id of the session ("sid"); empty if it gave none.
func (s *Session) SID() string { return s.rec.sid }

// ID names the session in events, logs and the application's own tables. It is a keyed fingerprint: the
// id inside the cookie is shown nowhere. It stays the same for as long as the session and the
// newest key live; without Config.Keys, for as long as the process does.
func (s *Session) ID() string { return s.m.fingerprint(s.rec.id) }

// Scopes are the granted ones.
func (s *Session) Scopes() []string { return strings.Fields(s.rec.scopes) }

// HasScope reports whether a scope was granted. It allocates nothing.
func (s *Session) HasScope(scope string) bool {
	for f := range strings.SplitSeq(s.rec.scopes, " ") {
		if f == scope && f != "" {
			return true
		}
	}
	return false
}

// Claims decodes the ID token's claims into v as encoding/json does; without an ID token, what
// UserInfo has. It decodes at each call: a struct with the fields of interest costs least. It
// returns ErrNoClaims if there is neither.
func (s *Session) Claims(v any) error {
	r := &s.rec
	if p := r.idToken.payload(); p != "" {
		return json.Unmarshal([]byte(p), v)
	}
	return decodeUserInfo(r, v)
}

// UserInfo decodes the userinfo endpoint's answer into v. It returns ErrNoClaims if none was asked for.
func (s *Session) UserInfo(v any) error { return decodeUserInfo(&s.rec, v) }

func decodeUserInfo(r *record, v any) error {
	if r.userInfo == "" {
		return ErrNoClaims
	}
	return json.Unmarshal([]byte(r.userInfo), v)
}

// ErrNoClaims is returned by Claims and UserInfo when the session holds none.
var ErrNoClaims = errors.New("sallyport: the session holds no such claims")

// AccessToken is the access token.
func (s *Session) AccessToken() client.Secret { return client.Secret(s.rec.accessToken) }

// AccessTokenExpiry is when the access token stops working; zero if the server did not say.
func (s *Session) AccessTokenExpiry() time.Time { return unixTime(s.rec.accessExpiry) }

// TokenGeneration counts the tokens of the session: 1 after the login, one more with each refresh.
func (s *Session) TokenGeneration() uint64 { return s.rec.tokenGeneration }

// CreatedAt is when the user logged in.
func (s *Session) CreatedAt() time.Time { return unixTime(s.rec.created) }

// ExpiresAt is when the session ends unless it is used before: its idle deadline, at most its absolute
// one. Requests move the idle deadline once a tenth of the idle timeout has passed, not each.
func (s *Session) ExpiresAt() time.Time {
	if s.m == nil {
		return time.Unix(min(s.rec.seen+s.rec.idle, s.rec.absolute), 0)
	}
	return earlier(s.rec.idleDeadline(&s.m.shared.cfg), s.rec.absoluteDeadline(&s.m.shared.cfg))
}

// Token returns the tokens in the form that Go's API clients take. The result prints its secrets.
func (s *Session) Token() *oauth2.Token {
	r := &s.rec
	return &oauth2.Token{AccessToken: r.accessToken, RefreshToken: r.refreshToken, TokenType: r.tokenType, Expiry: unixTime(r.accessExpiry)}
}

// Tokens returns everything that the last exchange gave, with the ID token as it came for id_token_hint.
func (s *Session) Tokens() *client.Tokens {
	r := &s.rec
	t := &client.Tokens{
		AccessToken: client.Secret(r.accessToken), RefreshToken: client.Secret(r.refreshToken), TokenType: r.tokenType,
		Expiry: unixTime(r.accessExpiry), RefreshExpiry: unixTime(r.refreshExpiry), Scopes: strings.Fields(r.scopes), Subject: r.subject, ObtainedAt: time.UnixMilli(r.obtained),
	}
	if r.userInfo != "" {
		t.UserInfo = json.RawMessage(r.userInfo)
	}
	if r.idToken != "" {
		// It was verified before it was sealed; if it does not parse now, there is none.
		t.IDToken, _ = client.RestoreIDToken(client.Secret(r.idToken.text()))
	}
	return t
}

// Get returns an attribute that the application has set, or "".
func (s *Session) Get(name string) string {
	for _, a := range s.rec.attributes {
		if a.name == name {
			return a.value
		}
	}
	return ""
}

// With returns the session with a small string of the application's own; an empty value removes it.
// Manager.Save makes it last. It fails with ErrCookie and reason "size" beyond 16 attributes or
// 1 kB of them.
func (s *Session) With(name, value string) (*Session, error) {
	if value == s.Get(name) {
		return s, nil
	}
	r, edit := s.rec, attribute{name, value}
	r.attributes = setAttribute(r.attributes, edit)
	size := 0
	for _, a := range r.attributes {
		size += len(a.name) + len(a.value)
	}
	if len(r.attributes) > maxAttributes || size > maxAttributeBytes {
		return nil, fail(ErrCookie, "size")
	}
	next := *s
	next.rec, next.edits = r, append(slices.Clip(s.edits), edit)
	return &next, nil
}

// setAttribute returns the attributes with one changed; those given stay as they are.
func setAttribute(all []attribute, a attribute) []attribute {
	all = slices.DeleteFunc(slices.Clone(all), func(b attribute) bool { return b.name == a.name })
	if a.value != "" {
		all = append(all, a)
	}
	return all
}

func unixTime(sec int64) time.Time {
	if sec == 0 {
		return time.Time{}
	}
	return time.Unix(sec, 0)
}
