package idtoken

import (
	"testing"
	"time"
)

func TestCacheControl(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"":                               time.Hour,
		"public":                         time.Hour,
		"max-age=1800":                   30 * time.Minute,
		"public, max-age=1800":           30 * time.Minute,
		"Max-Age=1800 , must-revalidate": 30 * time.Minute,
		`max-age="1800"`:                 30 * time.Minute,
		"max-age=1800, max-age=3600":     30 * time.Minute,
		"max-age=0":                      5 * time.Minute,
		"max-age=299":                    5 * time.Minute,
		"max-age=86400":                  24 * time.Hour,
		"max-age=86401":                  24 * time.Hour,
		"max-age=2147483648":             24 * time.Hour,
		"max-age=99999999999999999999":   24 * time.Hour,
		"max-age=-1":                     5 * time.Minute,
		"max-age=1h":                     5 * time.Minute,
		"max-age":                        5 * time.Minute,
		"max-age=":                       5 * time.Minute,
		"no-store":                       5 * time.Minute,
		"max-age=86400, no-cache":        5 * time.Minute,
		"s-maxage=60, max-age=1800":      30 * time.Minute,
		"x-max-age=60":                   time.Hour,
		",,=,;":                          time.Hour,
	} {
		t.Run(header, func(t *testing.T) {
			if got := softAge(header); got != want {
				t.Fatalf("%v, want %v", got, want)
			}
		})
	}
}
