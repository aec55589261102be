//go:build unix

package chaos

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/client"
)

// event is one line of a process's log: an audit event, and whose request it belongs to.
type event struct {
	At         int64  // microseconds since 1970
	Run        string // of the process, see runName
	Browser    int    // 0: nobody's
	Kind       string
	Generation uint64 `json:",omitempty"`
	Code       string `json:",omitempty"`
	Reason     string `json:",omitempty"`
}

// eventLog appends events to a file, each with one write, so that a process which is killed has told all that it knew.
type eventLog struct {
	mu   sync.Mutex
	file *os.File
	run  string
}

func openEventLog(path, run string) (*eventLog, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	return &eventLog{file: f, run: run}, err
}

// browserKey is the context key of a browser's number.
type browserKey struct{}

// add is a hook for audit events.
func (l *eventLog) add(ctx context.Context, e client.Event) {
	browser, _ := ctx.Value(browserKey{}).(int)
	line, err := json.Marshal(event{
		At: time.Now().UnixMicro(), Run: l.run, Browser: browser,
		Kind: e.Kind, Generation: e.Generation, Code: string(e.Code), Reason: e.Reason,
	})
	if err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = l.file.Write(append(line, '\n'))
}

// readEvents reads all logs of a folder, by browser, oldest first. Half a line is what a process wrote when it was killed.
func readEvents(dir string) (map[int][]event, error) {
	files, err := filepath.Glob(filepath.Join(dir, "events.*"))
	if err != nil {
		return nil, err
	}
	all := map[int][]event{}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		lines := bufio.NewScanner(bytes.NewReader(text))
		for lines.Scan() {
			var e event
			if json.Unmarshal(lines.Bytes(), &e) == nil {
				e.Run = strings.Clone(e.Run)
				all[e.Browser] = append(all[e.Browser], e)
			}
		}
		if err := lines.Err(); err != nil {
			return nil, err
		}
	}
	for _, list := range all {
		slices.SortStableFunc(list, func(x, y event) int { return cmp.Compare(x.At, y.At) })
	}
	return all, nil
}
