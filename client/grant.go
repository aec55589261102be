package client

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/sallyport/sallyport/internal/backchannel"
)

const maxTokenBytes = 1 << 20

// grant is the one door to the token endpoint, for every grant type. It goes
// through x/oauth2, which encodes the request and the client authentication
// (RFC 6749 §2.3.1); clientcredentials documents that EndpointParams may name
// another grant_type. The style is always explicit: x/oauth2's probing would
// send a code or a refresh token twice. What comes back is judged by us in
// grantTransport before x/oauth2 sees it.
func (c *Client) grant(ctx context.Context, m *Metadata, class backchannel.Class, params url.Values) (*tokenResponse, error) {
	secret, err := c.cfg.Authentication.secret(ctx)
	if err != nil {
		return nil, err
	}
	_, style := c.cfg.Authentication.method()
	t := &grantTransport{http: c.http, class: class, quirks: c.cfg.Quirks}
	hc := &http.Client{Transport: t} // sees no redirect: t returns 200 or an error
	cc := clientcredentials.Config{
		ClientID: c.cfg.ClientID, ClientSecret: string(secret), TokenURL: m.TokenEndpoint,
		AuthStyle: style, EndpointParams: params,
	}
	token, err := cc.Token(context.WithValue(ctx, oauth2.HTTPClient, hc))
	switch {
	case t.err != nil:
		return nil, t.err
	case err != nil || t.response == nil || token.AccessToken != string(t.response.accessToken):
		return nil, NewError(ErrTokenResponse, "client", nil)
	}
	return t.response, nil
}

// grantTransport judges the token endpoint's answer and hands x/oauth2 only
// what passed, in the plainest form.
type grantTransport struct {
	http     *backchannel.Client
	class    backchannel.Class
	quirks   Quirks
	response *tokenResponse
	err      error
}

func (t *grantTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.http.Do(req, t.class, maxTokenBytes)
	if err != nil {
		t.err = grantTransportError(err)
		return nil, t.err
	}
	t.response, err = judgeTokenResponse(resp, t.quirks, t.class == backchannel.RefreshGrant)
	if err != nil {
		t.err = err
		return nil, err
	}
	plain := t.response.plainJSON()
	return &http.Response{
		StatusCode: http.StatusOK, Status: "200 OK", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(plain)),
		ContentLength: int64(len(plain)), Request: req,
	}, nil
}

// plainJSON is the response in its plainest form. Every value is VSCHAR by
// then, for which Go's quoting is also JSON's.
func (r *tokenResponse) plainJSON() []byte {
	b := make([]byte, 0, len(r.accessToken)+len(r.refreshToken)+64)
	b = strconv.AppendQuote(append(b, `{"token_type":"Bearer","access_token":`...), string(r.accessToken))
	if r.refreshToken != "" {
		b = strconv.AppendQuote(append(b, `,"refresh_token":`...), string(r.refreshToken))
	}
	return append(b, '}')
}
