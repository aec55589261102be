package interop

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// product is one of the authorization servers that the script install puts into installed().
type product struct {
	name    string
	command []string // relative to its folder in installed()

	issuesIss bool // RFC 9207: iss in every authorization response
}

var products = []product{
	{name: "oidc-provider", command: []string{"node", "server.js"}, issuesIss: true},
	{name: "go-oidc", command: []string{"./server"}, issuesIss: true},
	{name: "zitadel-oidc", command: []string{"./server"}},
}

// registration is one client of clients.json.
type registration struct {
	ID     string `json:"client_id"`
	Secret string `json:"client_secret"`
	Method string `json:"token_endpoint_auth_method"`
}

// clientsFile is servers/common/clients.json, which every server reads.
type clientsFile struct {
	User, Password string
	Clients        []registration
}

func readClients(t *testing.T) clientsFile {
	t.Helper()
	var f clientsFile
	b, err := os.ReadFile(filepath.Join("servers", "common", "clients.json"))
	if err == nil {
		err = json.Unmarshal(b, &f)
	}
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// missing skips the test for want of something that has to be installed, or fails it where everything has to be there.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("SALLYPORT_REQUIRE_ALL") == "1" {
		t.Fatalf("%s, and SALLYPORT_REQUIRE_ALL=1 is set", what)
	}
	t.Skip(what)
}

// installed is where the script install puts the servers.
func installed() string {
	if folder := os.Getenv("SALLYPORT_INTEROP"); folder != "" {
		return folder
	}
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		cache = filepath.Join(os.Getenv("HOME"), ".cache")
	}
	return filepath.Join(cache, "sallyport-interop")
}

// start runs the server until the test ends and returns its issuer. The URIs are what it registers for every client.
func (p product) start(t *testing.T, redirectURIs, postLogoutURIs []string, env ...string) (issuer string) {
	t.Helper()
	folder := filepath.Join(installed(), p.name)
	if _, err := os.Stat(filepath.Join(folder, "stamp")); err != nil {
		missing(t, p.name+" is not installed: run internal/interop/install")
	}
	clients, err := filepath.Abs(filepath.Join("servers", "common", "clients.json"))
	if err != nil {
		t.Fatal(err)
	}
	env = append(env,
		"CLIENTS="+clients,
		"REDIRECT_URIS="+strings.Join(redirectURIs, " "),
		"POST_LOGOUT_URIS="+strings.Join(postLogoutURIs, " "),
		"TRACE=1")
	return startProcess(t, folder, "READY ", env, p.command...)
}

// startProcess runs a program in folder until the test ends, and returns what it printed after ready at the start of a
// line. Its whole output is in the log of a test that fails.
func startProcess(t *testing.T, folder, ready string, env []string, command ...string) string {
	t.Helper()
	program := command[0]
	if strings.HasPrefix(program, "./") {
		program = filepath.Join(folder, program)
	}
	cmd := exec.Command(program, command[1:]...)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), env...)
	out := &output{ready: ready, found: make(chan string, 1)}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()

	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-exited:
		case <-time.After(time.Minute):
			_ = cmd.Process.Kill()
			t.Errorf("%s did not stop on SIGTERM", command[0])
		}
		if t.Failed() {
			t.Logf("output of %s:\n%s", strings.Join(command, " "), out)
		}
	})
	select {
	case value := <-out.found:
		return value
	case err := <-exited:
		exited <- err
		t.Fatalf("%s stopped before it was ready: %v", command[0], err)
	case <-time.After(2 * time.Minute):
		t.Fatalf("%s was not ready after two minutes", command[0])
	}
	return ""
}

// output keeps what a process prints and reports its ready line once.
type output struct {
	ready string
	found chan string

	mu   sync.Mutex
	text strings.Builder
	done bool
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(b)
	if o.done {
		return len(b), nil
	}
	lines := bufio.NewScanner(strings.NewReader(o.text.String()))
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), o.ready); ok {
			o.done = true
			o.found <- value
			break
		}
	}
	return len(b), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}
