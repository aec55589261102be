package backchannel

import (
	"net/http"
	"testing"
)

func TestMediaType(t *testing.T) {
	for _, tt := range []struct {
		values []string
		want   string
	}{
		{nil, ""},
		{[]string{""}, ""},
		{[]string{"application/json"}, "application/json"},
		{[]string{"Application/JSON"}, "application/json"},
		{[]string{" application/json ;charset=UTF-8"}, "application/json"},
		{[]string{`application/json; charset="utf-8"`}, "application/json"},
		{[]string{"application/json; profile=x"}, "application/json"},
		{[]string{"application/jwt"}, "application/jwt"},
		{[]string{"text/html; charset=utf-8"}, "text/html"},
		// ATK-T30: another charset, or something that is read as one.
		{[]string{"application/json; charset=latin1"}, ""},
		{[]string{"application/json; charset=utf-16"}, ""},
		{[]string{"application/json; charset=utf8"}, ""},
		{[]string{"application/json; charset="}, ""},
		{[]string{"application/json; CHARSET=iso-8859-1"}, ""},
		{[]string{"application/json; charset*=utf-8''latin1"}, ""},
		{[]string{"application/json; charset=utf-8; charset=latin1"}, ""},
		{[]string{"application/json; charset"}, ""},
		{[]string{"application/json", "application/json"}, ""},
		{[]string{"application/json", "text/html"}, ""},
		{[]string{"application/json, text/html"}, ""},
		{[]string{"application/"}, ""},
		{[]string{"/json"}, ""},
		{[]string{"; charset=utf-8"}, ""},
	} {
		h := http.Header{}
		if tt.values != nil {
			h["Content-Type"] = tt.values
		}
		if got := MediaType(h); got != tt.want {
			t.Errorf("MediaType(%q) = %q, want %q", tt.values, got, tt.want)
		}
	}
}
