// Package client speaks OAuth 2.1 and OpenID Connect for a confidential
// client: it builds the authorization request, judges the authorization
// response, exchanges the code, verifies the ID token, refreshes and revokes.
// It keeps no cookies and serves no pages; packages session and middleware do.
//
// Most applications need [New] and hand the result to middleware.New. A
// program that drives the flow itself calls, in this order,
//
//	req, err := c.AuthorizationRequest(ctx, client.AuthorizationOptions{})
//	// send the browser to req.URL(), keep req where only this browser reaches it
//	resp, err := c.AuthorizationResponse(r)      // the request at the redirect URI
//	tokens, err := c.Exchange(ctx, req, resp)    // once for each req
//
// # Policy
//
// PKCE with S256, state and nonce are always on. The redirect URI is the
// configured constant. Nothing is sent to the token endpoint before every check
// of the authorization response has passed, and nothing of a token response is
// returned before every check of that has. What weakens a check is a field of
// [Quirks], is named after what it gives up, and raises an event.
//
// # Errors
//
// Every failure is an [*Error] with a [Code]. Codes are sentinels:
//
//	if errors.Is(err, client.ErrStateMismatch) { … }
//
// The text of an error never holds a secret or a byte chosen by the server or
// the browser.
package client
