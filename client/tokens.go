package client

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/sallyport/sallyport/internal/idtoken"
)

// Tokens is what a code or a refresh token was exchanged for, after every check.
// It prints as scopes and expiry; as JSON its secrets are placeholders.
type Tokens struct {
	AccessToken  Secret
	RefreshToken Secret // empty if none was issued
	TokenType    string // "Bearer"
	// Expiry is when the access token stops working; zero if the server did not say.
	Expiry time.Time
	// RefreshExpiry is when the refresh token stops working, as the server last
	// said (refresh_token_expires_in, in no standard but widely sent); zero if it
	// did not. A refresh that says nothing keeps it.
	RefreshExpiry time.Time
	// Scopes are the granted ones.
	Scopes []string
	// IDToken is the verified ID token; nil without the openid scope.
	IDToken *IDToken
	// UserInfo is the userinfo endpoint's answer or the profile, if one was asked for: a JSON object.
	UserInfo json.RawMessage
	// Subject identifies the user at the issuer: the ID token's sub or the
	// profile's id. Only (issuer, Subject) does; never an e-mail address (OpenID Connect Core §5.7).
	Subject string
	// ObtainedAt is when Exchange was about to send the token request; a refresh
	// does not move it. A logout that the server tells of later ends what came of it.
	ObtainedAt time.Time
}

// String says which scopes there are and until when.
func (t Tokens) String() string {
	s := "tokens for " + strings.Join(t.Scopes, " ")
	if !t.Expiry.IsZero() {
		s += " until " + t.Expiry.UTC().Format(time.RFC3339)
	}
	return s
}

// Format writes String for every verb: with a verb that does not suit a field,
// fmt prints what is under it without asking its methods.
func (t Tokens) Format(f fmt.State, _ rune) { io.WriteString(f, t.String()) }

// LogValue is String for log/slog.
func (t Tokens) LogValue() slog.Value { return slog.StringValue(t.String()) }

// Token returns the tokens in the form that Go's API clients take. The result
// prints its secrets; x/oauth2's type cannot be kept from it.
func (t *Tokens) Token() *oauth2.Token {
	return &oauth2.Token{AccessToken: string(t.AccessToken), RefreshToken: string(t.RefreshToken), TokenType: t.TokenType, Expiry: t.Expiry}
}

// IDToken is a verified ID token (OpenID Connect Core §2).
type IDToken struct {
	Issuer          string
	Subject         string
	Audience        []string
	AuthorizedParty string
	SID             string // session id at the server, for logout
	Nonce           string `json:"-"`
	ACR             string
	Expiry          time.Time
	IssuedAt        time.Time
	AuthTime        time.Time // zero if the server did not say
	Raw             Secret    // the token as it came, for id_token_hint

	payload json.RawMessage
}

// String names the issuer only.
func (t IDToken) String() string { return "ID token of " + t.Issuer }

// Format writes String for every verb.
func (t IDToken) Format(f fmt.State, _ rune) { io.WriteString(f, t.String()) }

// LogValue is String for log/slog.
func (t IDToken) LogValue() slog.Value { return slog.StringValue(t.String()) }

// Claims decodes the claims into v, a pointer, as encoding/json does.
func (t *IDToken) Claims(v any) error { return json.Unmarshal(t.payload, v) }

// RestoreIDToken reads an ID token that was verified before and has been kept
// sealed since. It does not verify it again: never give it a token that came
// from anywhere else. Failure: [ErrIDToken].
func RestoreIDToken(raw Secret) (*IDToken, error) {
	t, err := idtoken.Unverified(string(raw))
	if err != nil {
		return nil, idTokenError(err)
	}
	return newIDToken(t, string(raw)), nil
}

// token is the reverse of newIDToken as far as [idtoken.Continues] looks at it.
func (t *IDToken) token() *idtoken.Token {
	return &idtoken.Token{Issuer: t.Issuer, Subject: t.Subject, AuthorizedParty: t.AuthorizedParty, Nonce: t.Nonce,
		IssuedAt: t.IssuedAt, AuthTime: t.AuthTime}
}

func newIDToken(t *idtoken.Token, raw string) *IDToken {
	return &IDToken{
		Issuer: t.Issuer, Subject: t.Subject, Audience: t.Audience, AuthorizedParty: t.AuthorizedParty,
		SID: t.SID, Nonce: t.Nonce, ACR: t.ACR, Expiry: t.Expiry, IssuedAt: t.IssuedAt, AuthTime: t.AuthTime,
		Raw: Secret(raw), payload: t.Payload,
	}
}
