//go:build unix

package chaos

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/oauth2"
)

// peer is what applications do with golang.org/x/oauth2 and a session in Redis; and with floor, the reference: nothing but the
// call of the server, which one request makes for all.
type peer struct {
	role   string
	cfg    oauth2.Config
	app    *application // only logs in
	client *redis.Client

	mu      sync.Mutex
	sources map[string]oauth2.TokenSource
	calls   map[string]func() (*oauth2.Token, error)
	tokens  map[string]*oauth2.Token
}

func newPeer(a *assignment) (*peer, error) {
	own := *a
	own.Store, own.Cookie = "", true
	app, err := own.application(nil, nil)
	if err != nil {
		return nil, err
	}
	metadata, err := app.client.Discover(context.Background())
	if err != nil {
		return nil, err
	}
	p := &peer{role: a.Role, app: app, sources: map[string]oauth2.TokenSource{}, calls: map[string]func() (*oauth2.Token, error){}, tokens: map[string]*oauth2.Token{}}
	p.cfg = oauth2.Config{ClientID: clientID, ClientSecret: clientSecret,
		Endpoint: oauth2.Endpoint{TokenURL: metadata.TokenEndpoint, AuthStyle: oauth2.AuthStyleInHeader}}
	if a.Store == "" {
		return p, nil
	}
	o, err := redis.ParseURL(a.Store)
	if err != nil {
		return nil, errors.New("chaos: not a Redis")
	}
	o.PoolSize = 64
	p.client = redis.NewClient(o)
	return p, nil
}

func (p *peer) make(ctx context.Context, subject string, _ bool) (string, error) {
	t, err := p.app.logIn(ctx, subject)
	if err != nil {
		return "", err
	}
	id := rand.Text()
	return id, p.save(ctx, id, &oauth2.Token{
		AccessToken: string(t.AccessToken), TokenType: "Bearer", RefreshToken: string(t.RefreshToken), Expiry: time.Now().Add(-time.Second),
	})
}

func (p *peer) load(ctx context.Context, id string) (*oauth2.Token, error) {
	if p.client == nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.tokens[id], nil
	}
	b, err := p.client.Get(ctx, id).Bytes()
	if err != nil {
		return nil, err
	}
	t := new(oauth2.Token)
	return t, json.Unmarshal(b, t)
}

func (p *peer) save(ctx context.Context, id string, t *oauth2.Token) error {
	if p.client == nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.tokens[id] = t
		return nil
	}
	b, err := json.Marshal(t)
	if err != nil {
		return err
	}
	return p.client.Set(ctx, id, b, time.Hour).Err()
}

func (p *peer) answer(ctx context.Context, id string) (token, subject string, err error) {
	var t *oauth2.Token
	switch p.role {
	case wayFloor:
		t, err = p.once(id)()
	case wayReuse:
		var source oauth2.TokenSource
		if source, err = p.source(ctx, id); err == nil {
			t, err = source.Token()
		}
	default:
		if t, err = p.load(ctx, id); err == nil {
			t, err = p.cfg.TokenSource(ctx, t).Token()
		}
	}
	if err == nil && p.role != wayFloor {
		err = p.save(ctx, id, t)
	}
	if err != nil {
		return "", "", err
	}
	return t.AccessToken, "", nil
}

// once is the reference: the one call, with nothing around it but a lock.
func (p *peer) once(id string) func() (*oauth2.Token, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.calls[id] == nil {
		old := p.tokens[id]
		p.calls[id] = sync.OnceValues(func() (*oauth2.Token, error) { return p.cfg.TokenSource(context.Background(), old).Token() })
	}
	return p.calls[id]
}

// source is one ReuseTokenSource for each session, which is what TokenSource returns.
func (p *peer) source(ctx context.Context, id string) (oauth2.TokenSource, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sources[id] == nil {
		t, err := p.load(ctx, id)
		if err != nil {
			return nil, err
		}
		p.sources[id] = p.cfg.TokenSource(context.Background(), t)
	}
	return p.sources[id], nil
}
