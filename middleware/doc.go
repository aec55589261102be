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
// A session that it ends is over at its next request, in the process that got the logout.
//
// # Errors
//
// A page for a person has a code and a reference; the event with the same reference says the rest. All failures to find the pending login have one code, "state".
// An answer for a program is application/problem+json with a code: "login_required" (401), "csrf" (403), "unavailable" (503, with Retry-After), "internal" (500).
package middleware
