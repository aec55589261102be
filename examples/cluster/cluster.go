package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/sallyport/sallyport/client/authtest"
	"github.com/sallyport/sallyport/internal/backing"
	"github.com/sallyport/sallyport/session"
)

// cluster is what runs: a store, an authorization server, replicas, a proxy, users.
type cluster struct {
	options
	out io.Writer
	dir string

	stopStore func()
	server    *authtest.Server
	replicas  []*replica
	proxy     *http.Server
	home      string
	load      *load
	news      chan string // for the person who watches
}

// start returns when the application can be used.
func (c *cluster) start(ctx context.Context) error {
	c.news = make(chan string, 64)
	storeURL, err := c.startStore(ctx)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", c.listen)
	if err != nil {
		return err
	}
	c.home = "http://" + listener.Addr().String()
	users := make([]authtest.User, c.users)
	for i := range users {
		users[i] = authtest.User{Subject: fmt.Sprintf("user-%04d", i+1)}
	}
	secret := rand.Text()
	c.server = authtest.NewServer(authtest.Config{
		Users: users, AccessTokenLifetime: c.lifetime, RotationGrace: c.grace,
		Clients: []authtest.Client{{
			ID: "cluster", Secret: secret, RedirectURIs: []string{c.home + "/auth/callback"},
			PostLogoutRedirectURIs: []string{c.home + "/auth/logout/callback"}, BackchannelLogoutURI: c.home + "/auth/backchannel-logout",
		}},
	})
	binary := filepath.Join(c.dir, "webapp")
	fmt.Fprintln(c.out, "building examples/webapp …")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", binary, "github.com/sallyport/sallyport/examples/webapp").CombinedOutput(); err != nil {
		return fmt.Errorf("building examples/webapp (run this from the repository, with go on PATH): %w\n%s", err, out)
	}
	env := map[string]string{
		"OAUTH_ISSUER": c.server.Issuer(), "OAUTH_CLIENT_ID": "cluster", "OAUTH_CLIENT_SECRET": secret,
		"OAUTH_REDIRECT_URI": c.home + "/auth/callback", "OAUTH_POST_LOGOUT_REDIRECT_URI": c.home + "/auth/logout/callback",
		"SESSION_KEYS": base64.RawURLEncoding.EncodeToString(session.GenerateKey()),
	}
	if c.placement == "store" {
		env["SESSION_STORE"] = storeURL
	} else {
		env["SESSION_COORDINATION"] = storeURL
	}
	for i := range c.options.replicas {
		r, err := startReplica(ctx, i+1, binary, env)
		if err != nil {
			return err
		}
		c.replicas = append(c.replicas, r)
	}
	c.proxy = &http.Server{Handler: newProxy(c.replicas), ReadHeaderTimeout: 5 * time.Second}
	go c.proxy.Serve(listener)
	c.load = newLoad(c.home, c.server, users, c.pause, c.parallel)
	return nil
}

func (c *cluster) startStore(ctx context.Context) (url string, err error) {
	dir := filepath.Join(c.dir, c.store)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	if c.store == "postgres" {
		p, err := backing.StartPostgres(ctx, dir)
		if err != nil {
			return "", missing(err, "postgresql")
		}
		c.stopStore = p.Stop
		return p.URL(), nil
	}
	// What is acknowledged is on disk: also when the machine goes.
	r, err := backing.StartRedis(ctx, dir, "appendfsync always")
	if err != nil {
		return "", missing(err, "redis-server")
	}
	c.stopStore = r.Stop
	return r.URL(), nil
}

func missing(err error, name string) error {
	if errors.Is(err, backing.ErrMissing) {
		return fmt.Errorf("%s is not installed: install it (Debian: apt-get install %s), or choose another -store", name, name)
	}
	return err
}

// watch shows what happens until ctx ends, and judges it.
func (c *cluster) watch(ctx context.Context) error {
	fmt.Fprintf(c.out, "listening on %s\n%d replicas, sessions in %s, %s shared, %d users, access tokens live %s, a refresh token used twice %s\n",
		c.home, len(c.replicas), map[string]string{"store": "the store", "cookie": "cookies"}[c.placement], c.store, c.users, c.lifetime, c.policy())
	fmt.Fprint(c.out, "rotations, followed (a replica waited for another one's refresh), adopted, in doubt, 50x, lost, foreign and families revoked are sums\n\n")
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.load.start(ctx)
	if c.chaos {
		go c.kill(ctx)
	}
	v := &view{cluster: c, began: time.Now()}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case line := <-c.news:
			v.note(line)
		case <-tick.C:
			v.line()
		case <-ctx.Done():
			c.load.wait()
			return v.verdict()
		}
	}
}

func (c *cluster) policy() string {
	if c.grace > 0 {
		return "within " + c.grace.String() + " is forgiven"
	}
	return "revokes its family"
}

// kill kills one replica after the other, as a machine that fails does, and starts it again.
func (c *cluster) kill(ctx context.Context) {
	for i := 0; ; i++ {
		select {
		case <-time.After(c.every):
		case <-ctx.Done():
			return
		}
		r := c.replicas[i%len(c.replicas)]
		r.kill()
		c.tell(fmt.Sprintf("replica %d killed", r.number))
		select {
		case <-time.After(c.every / 3):
		case <-ctx.Done():
			return
		}
		if err := r.restart(ctx); err != nil {
			c.tell(fmt.Sprintf("replica %d does not start: %v", r.number, err))
			continue
		}
		c.tell(fmt.Sprintf("replica %d is back", r.number))
	}
}

func (c *cluster) tell(line string) {
	select {
	case c.news <- line:
	default:
	}
}

// stop ends what was started, the users' side first.
func (c *cluster) stop() {
	if c.proxy != nil {
		c.proxy.Close()
	}
	for _, r := range c.replicas {
		r.stop()
	}
	if c.server != nil {
		c.server.Close()
	}
	if c.stopStore != nil {
		c.stopStore()
	}
}
