// Package middleware logs users in to a net/http application.
//
// Most applications need [New], [Auth.Handler] and [Auth.RequireLogin]:
//
//	auth, err := middleware.New(sessions, provider)
//	mux.Handle("/", auth.RequireLogin(app))
//	http.ListenAndServe(addr, auth.Handler(mux))
//
// RequireLogin and RequireToken are func(http.Handler) http.Handler, as chi, gorilla/mux and the adapters of echo and gin take them.
// The ResponseWriter is never wrapped: streaming, hijacking and http.ResponseController keep working.
//
// # Routes
//
// Under Config.BasePath, "/auth" by default:
//
//	GET  /auth/login?return_to=/path   starts a login; with several clients a page to choose from
//	GET  /auth/login/NAME              starts a login at the client of that name
//	POST /auth/logout                  ends the session here, revokes its tokens, and ends it at the provider
//	GET  /auth/logout/callback         where the provider sends the browser after a logout
//	POST /auth/backchannel-logout      for the provider: it ends sessions here (OpenID Connect Back-Channel Logout 1.0)
//	GET  /auth/frontchannel-logout     only with Config.FrontchannelLogout
//	GET  /auth/session                 JSON: who is logged in and until when; never a token
//
// and the path of each client's redirect URI. Each answers exactly its path and method.
//
// # The application's address
//
// It is the scheme, host and port of the redirect URI. Host and X-Forwarded headers decide nothing, but the callback is refused unless Host is that of the redirect URI: a proxy must pass Host on.
//
// # Requests from other origins
//
// RequireLogin, RequireToken and the logout refuse what a page of another origin sends with the user's cookies, by Fetch Metadata and Origin: a sibling subdomain counts as another origin, whatever SameSite says. Config.TrustedOrigins lists exceptions.
//
// # Logout by the provider
//
// Register BasePath + "/backchannel-logout" as backchannel_logout_uri. The provider's server sends the request, not a browser: no cookie, Origin or Host counts, only the signed token.
// With a store that processes share, the sessions have ended in all of them when it is answered; without one, they are over at their
// next request to the process that got the logout.
//
// # When the store is away
//
// With sessions in a store, and with a Coordination beside sessions in cookies, most requests ask it. If it does not answer, nobody can tell
// whether a session has ended, so the answer is 503 with Retry-After, to whatever needs a session or begins or ends one: a page to a person, a problem to a program.
// It never means "logged out": no cookie is set or taken away, nobody is sent into a login, and with the store the sessions are back.
// A callback sends no code then; if the store goes away after that, the tokens are given back. A logout that could not be done says so.
//
// # Errors
//
// A page for a person has a code and a reference; the event with the same reference says the rest. All failures to find the pending login have one code, "state".
// An answer for a program is application/problem+json with a code: "login_required" (401), "csrf" (403), "unavailable" (503, with Retry-After), "internal" (500).
package middleware
