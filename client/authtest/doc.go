// Package authtest is an authorization server for tests and demos, in the
// style of net/http/httptest: OAuth 2.1 with OpenID Connect, complete and
// strict when it behaves, and able to misbehave in any way a client has to
// withstand.
//
// Most tests need three calls. NewServer starts it, Register tells it about the
// client under test, and Authorize plays the part of the browser:
//
//	as := authtest.NewServer(authtest.Config{})
//	defer as.Close()
//	as.Register(authtest.Client{ID: "app", Secret: "s3cret", RedirectURIs: []string{callback}})
//	// … the client under test makes an authorization URL for as.Issuer() …
//	answer, err := as.Authorize(ctx, authorizationURL)
//	// … and gets answer.Request(ctx) at its redirect URI.
//
// # Who logs in
//
// By default nobody has to press anything: the authorization endpoint logs the
// chosen user in at once ([Server.SetUser], the first of [Config.Users] to begin
// with, or whom login_hint names) and redirects back. With [Config.Interactive]
// a person picks one of the users on a small login page; demos use that. The
// login at the server lives in a cookie there, so a new [Browser] is a browser
// in which nobody is logged in yet, and prompt=none answers login_required.
//
// # What it insists on
//
// Exact redirect URIs, response_type=code, PKCE with S256, no parameter twice,
// client authentication by exactly one method, codes and refresh tokens that
// work once: replaying one revokes everything that came of that login. A client
// that works against this server sends what the standards say.
//
// A refresh token comes with the scope offline_access, and without asking where
// the scope openid was not asked for (plain OAuth).
//
// # How to make it misbehave
//
// [Server.Misbehave] takes a [Fault]: where, when and how often, and then any of
// a replaced answer, an edited document, token or redirect, and a disturbance on
// the wire:
//
//	as.Misbehave(authtest.Fault{Endpoint: authtest.Token, Times: 1, Wire: authtest.DropAfter})
//	as.Misbehave(authtest.Fault{Endpoint: authtest.Token, JWT: func(t *authtest.JWT) { t.Claims["nonce"] = "other" }})
//
// A fault can strike at random ([Chance]) and take its time (Fault.Delay), for as
// long as the test does not stop it:
//
//	as.Misbehave(authtest.Fault{Endpoint: authtest.Token, Delay: 20 * time.Millisecond})
//	stop := as.Misbehave(authtest.Fault{Endpoint: authtest.Token, When: authtest.Chance(0.01, seed), Wire: authtest.DropAfter})
//
// [Server.Requests] counts what arrived, so a test can assert that nothing did.
// [Server.Stats] counts what became of it, with each family of tokens that ended
// because a refresh token was used twice, and [Server.Grant] says which family a
// token is of.
//
// # Logout
//
// A client with a BackchannelLogoutURI gets a logout token when a login that it
// has seen ends at the end_session endpoint, or when [Server.Logout] says so;
// [Server.LogoutToken] makes one to be sent by the test. A fault for
// BackchannelLogout bends it. Without sockets, Config.LogoutTransport leads to
// the client's handler.
//
// # Without sockets
//
// [New] makes the server without a listener: it is an http.Handler, and
// [Server.Transport] reaches it without a socket, with the same faults, so that
// it works inside a testing/synctest bubble.
//
// # What is kept
//
// State is in memory and bounded: the last 65,536 logins and the last 4,096
// requests; the counters of requests are exact. Everything is safe for
// concurrent use. It checks no passwords and keeps secrets in clear: never put
// it where strangers reach it.
package authtest
