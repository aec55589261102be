package logins

import (
	"net/http"

	"github.com/sallyport/sallyport/client"
	"github.com/sallyport/sallyport/middleware"
	"github.com/sallyport/sallyport/session"
)

// Names of ours.
const (
	Sallyport         = "sallyport"
	SallyportUserInfo = "sallyport, userinfo"
)

// Ours are our own logins: client, session and middleware as an application uses them. Beyond what is wired by hand they
// check the issuer of the response (RFC 9207), at_hash and the response's shape, take the code exactly once, and end with a sealed session.
func Ours() []Peer {
	return []Peer{
		{Sallyport, func(issuer string) (*Flow, error) { return sallyport(issuer, false) }},
		{SallyportUserInfo, func(issuer string) (*Flow, error) { return sallyport(issuer, true) }},
	}
}

func sallyport(issuer string, userInfo bool) (*Flow, error) {
	c, err := client.New(client.Config{
		Issuer: issuer, ClientID: clientID, Authentication: client.SecretBasic(client.Secret(clientSecret)), RedirectURI: redirectURI, UserInfo: userInfo,
	})
	if err != nil {
		return nil, err
	}
	s, err := session.New(session.Config{Keys: [][]byte{session.GenerateKey()}})
	if err != nil {
		return nil, err
	}
	auth, err := middleware.New(s, c)
	if err != nil {
		return nil, err
	}
	return &Flow{
		startURL: origin + "/auth/login", start: auth, callback: auth,
		done: func(status int, _ string, h http.Header) bool {
			return status == http.StatusSeeOther && h.Get("Location") != "" && cookieHeader(h) != ""
		},
	}, nil
}
