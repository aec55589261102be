package session

import (
	"time"

	"github.com/sallyport/sallyport/client"
)

// Test returns a session for tests of handlers: a user with that subject, logged in at https://issuer.example with
// scope openid and a token of an hour. The options change the tokens before the session is made; what
// they put into UserInfo is what Claims and UserInfo decode. No Manager accepts it.
//
//	s := session.Test("alice", func(t *client.Tokens) { t.Scopes = []string{"openid", "admin"} })
func Test(subject string, options ...func(*client.Tokens)) *Session {
	now := time.Now()
	t := &client.Tokens{
		AccessToken: "test-access-token", TokenType: "Bearer", Expiry: now.Add(time.Hour), Scopes: []string{"openid"}, Subject: subject,
	}
	for _, o := range options {
		o(t)
	}
	s := &Session{rec: record{
		created: now.Unix(), seen: now.Unix(), absolute: now.Add(12 * time.Hour).Unix(), idle: 3600,
		issuer: "https://issuer.example", clientID: "test", subject: t.Subject, tokens: newTokens(t, now, 1),
	}}
	if t.IDToken != nil {
		s.rec.sid = t.IDToken.SID
	}
	return s
}
