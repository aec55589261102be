package client

import (
	"slices"
	"strings"
	"time"
)

// Rotation says what the server does with refresh tokens, as far as no metadata
// tells. The zero value is right for every server and assumes the strictest: a
// refresh token works once, and only invalid_grant (GitHub: bad_refresh_token)
// says that the grant is over.
type Rotation struct {
	// Reusable says that a refresh token may be used again, be it that the
	// server does not rotate or that it lets the old one live on: an answer that
	// was lost costs nothing.
	Reusable bool
	// Grace is for how long after its first use a rotated refresh token still
	// works (a setting of Okta, Auth0, Amazon Cognito, dex and others): one second
	// to ten minutes. 0: not at all, or not known.
	Grace time.Duration
	// OverCodes are error codes of the token endpoint that mean, beside
	// invalid_grant, that the grant is over: invalid_request for dex and
	// LemonLDAP::NG. The caller has made sure that the server answers nothing
	// else with them: whoever gets one is logged out. An answer with status 429 or
	// 5xx never ends a grant, whatever it says.
	OverCodes []string
	// OverWhenEmpty takes an answer of status 400 or 403 without a body to mean
	// the same (Glewlwyd). The caller takes over that nothing between here and the
	// server refuses with an empty answer, and that the client secret is right:
	// Glewlwyd answers a wrong one in the same way, and each refresh then ends a session.
	OverWhenEmpty bool
}

const (
	minGrace = time.Second
	maxGrace = 10 * time.Minute
)

// neverOver are error codes that are about the client, its configuration, the
// request or the server, never about the grant (ATK-F11).
var neverOver = map[string]bool{
	"invalid_client": true, "incorrect_client_credentials": true, "unauthorized_client": true,
	"unsupported_grant_type": true, "unsupported_response_type": true, "unsupported_token_type": true,
	"invalid_scope": true, "invalid_target": true, "invalid_authorization_details": true,
	"invalid_dpop_proof": true, "use_dpop_nonce": true,
	"temporarily_unavailable": true, "server_error": true, "slow_down": true, "authorization_pending": true,
}

func (r Rotation) check() error {
	if r.Grace != 0 && (r.Grace < minGrace || r.Grace > maxGrace) {
		return configError("rotation", "Rotation.Grace is out of range: 0, or between "+minGrace.String()+" and "+maxGrace.String()+", written like 30*time.Second")
	}
	if r.Reusable && r.Grace != 0 {
		return configError("rotation", "Rotation.Reusable and Rotation.Grace contradict each other: a refresh token that may be used again needs no grace period, so set one of them")
	}
	for _, code := range r.OverCodes {
		switch {
		case !isScopeToken(code): // the alphabet of RFC 6749 §5.2, blanks left out
			return configError("rotation", "an element of Rotation.OverCodes is empty or has a blank or another character that error codes do not have (RFC 6749 §5.2): give each code as one element, as the server writes it")
		case neverOver[strings.ToLower(code)]:
			return configError("rotation", "an element of Rotation.OverCodes is about the client, the request or the server and not about the grant: one mistake in the configuration would log everybody out, so leave it out")
		}
	}
	return nil
}

// active lists the names of what takes more answers for the end of a grant.
func (r Rotation) active() []string {
	var names []string
	if len(r.OverCodes) > 0 {
		names = append(names, "OverCodes")
	}
	if r.OverWhenEmpty {
		names = append(names, "OverWhenEmpty")
	}
	return names
}

// Rotation returns what is known about the server's refresh tokens: Config.Rotation,
// and beyond it Reusable for a provider that documents it.
func (c *Client) Rotation() Rotation {
	r := c.cfg.Rotation
	r.Reusable = r.Reusable || c.provider.reusable && r.Grace == 0
	r.OverCodes = slices.Clone(r.OverCodes)
	return r
}

// over reports whether a refusal of the token endpoint says that the grant is
// over, and by which rule if not by the standard's own. A 5xx or 429 never does,
// whatever it says.
func (r Rotation) over(e *Error) (over bool, rule string) {
	switch {
	case e.Code != ErrTokenEndpoint || e.Outcome != Rejected:
		return false, ""
	case e.ServerCode == "invalid_grant" || e.ServerCode == "bad_refresh_token":
		return true, ""
	case slices.Contains(r.OverCodes, e.server.code):
		return true, "over_code"
	case r.OverWhenEmpty && e.refusedEmpty:
		return true, "empty_answer"
	}
	return false, ""
}

// profileHint tells the operator what a refusal may mean that is none by the standard.
func profileHint(e *Error) string {
	switch {
	case e.Code != ErrTokenEndpoint || e.Outcome != Rejected || e.hint != "":
		return e.hint
	case e.ServerCode == "invalid_request":
		return "if the server says so when the grant is over (dex, LemonLDAP::NG), name it in Config.Rotation.OverCodes"
	case e.refusedEmpty:
		return "if the server says so when the grant is over (Glewlwyd), set Config.Rotation.OverWhenEmpty"
	}
	return ""
}
