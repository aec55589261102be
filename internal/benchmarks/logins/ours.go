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
	a, err := NewApplication(issuer, client.Config{UserInfo: userInfo}, session.Config{Keys: [][]byte{session.GenerateKey()}})
	if err != nil {
		return nil, err
	}
	return a.Flow(), nil
}

// Application is what an application has of ours, registered at the Server of this package.
type Application struct {
	Client  *client.Client
	Manager *session.Manager // bound to the application's origin
	Auth    *middleware.Auth
}

// NewApplication returns one with these settings, to which those of the registration are added.
func NewApplication(issuer string, c client.Config, s session.Config) (*Application, error) {
	c.Issuer, c.ClientID, c.Authentication, c.RedirectURI = issuer, clientID, client.SecretBasic(client.Secret(clientSecret)), redirectURI
	a := new(Application)
	var err error
	if a.Client, err = client.New(c); err != nil {
		return nil, err
	}
	m, err := session.New(s)
	if err != nil {
		return nil, err
	}
	if a.Auth, err = middleware.New(m, a.Client); err != nil {
		return nil, err
	}
	a.Manager, err = m.ForOrigin(origin)
	return a, err
}

// Flow returns the application's logins.
func (a *Application) Flow() *Flow {
	return &Flow{
		startURL: origin + "/auth/login", start: a.Auth, callback: a.Auth,
		done: func(status int, _ string, h http.Header) bool {
			return status == http.StatusSeeOther && h.Get("Location") != "" && cookieHeader(h) != ""
		},
	}
}
