package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"haloingest/sinks/postgres/localpg/pgtest"
	"haloingest/sources/intercom/intercomtest"
)

type storyCommand = func(ts *testscript.TestScript, neg bool, args []string)

var storyCommands map[string]storyCommand

func init() { // it would refer to itself
	storyCommands = map[string]storyCommand{
		"sim":            plainCommand(0, 99, cmdSim),
		"change":         plainCommand(1, 1, cmdChange),
		"faults":         plainCommand(0, 1, cmdFaults),
		"damage":         plainCommand(4, 4, cmdDamage),
		"model":          plainCommand(1, 1, cmdModel),
		"asked":          plainCommand(2, 99, cmdAsked),
		"mend":           plainCommand(0, 0, func(ts *testscript.TestScript, s *story, _ []string) { s.sim(ts).damage() }),
		"haloingest":     plainCommand(0, 99, func(ts *testscript.TestScript, s *story, args []string) { s.exits(ts, exitDone, args) }),
		"exits":          plainCommand(2, 99, cmdExits),
		"start":          plainCommand(2, 99, cmdStart),
		"signal":         plainCommand(2, 3, cmdSignal),
		"asks":           plainCommand(2, 2, cmdAsks),
		"says":           plainCommand(2, 2, cmdSays),
		"ends":           plainCommand(2, 2, cmdEnds),
		"sql":            plainCommand(1, 1, cmdSQL),
		"is":             plainCommand(2, 2, cmdIs),
		"let":            plainCommand(2, 2, cmdLet),
		"until":          plainCommand(1, 1, cmdUntil),
		"remember":       plainCommand(1, 99, cmdRemember),
		"unchanged":      plainCommand(1, 1, cmdUnchanged),
		"nothing-stored": plainCommand(0, 0, cmdNothingStored),
		"cluster":        plainCommand(1, 1, cmdCluster),
		"badpassword":    plainCommand(1, 1, cmdBadPassword),
		"secret":         plainCommand(2, 2, cmdSecret),
		"tidy":           plainCommand(0, 0, cmdTidy),
		"no-writes":      plainCommand(0, 0, cmdNoWrites),
	}
}

// plainCommand is a command that cannot be negated and takes between least and most words.
func plainCommand(least, most int, do func(ts *testscript.TestScript, s *story, args []string)) storyCommand {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg {
			ts.Fatalf("this command cannot be negated; see exits")
		}
		if len(args) < least || len(args) > most {
			ts.Fatalf("%d words, want %d to %d", len(args), least, most)
		}
		do(ts, storyOf(ts), args)
	}
}

func cmdSim(ts *testscript.TestScript, s *story, args []string) {
	name, o, err := simSettings(args)
	ts.Check(err)
	s.sims[name] = openShop(s.tb, o)
	s.last = name
	s.secrets[s.sims[name].token] = "the access token"
	ts.Check(os.WriteFile(filepath.Join(s.dir, "token"), []byte(s.sims[name].token+"\n"), 0o600))
	ts.Setenv("HALOINGEST_INTERCOM_URL", s.sims[name].url)
	ts.Setenv("TOKEN", s.sims[name].token)
}

func cmdChange(ts *testscript.TestScript, s *story, args []string) {
	var c intercomtest.Change
	d := json.NewDecoder(strings.NewReader(os.Expand(args[0], ts.Getenv)))
	d.DisallowUnknownFields()
	ts.Check(d.Decode(&c))
	ids, err := s.sim(ts).Apply(c)
	ts.Check(err)
	ts.Setenv("ID", ids[0])
	fmt.Fprintln(ts.Stdout(), strings.Join(ids, "\n"))
}

func cmdFaults(ts *testscript.TestScript, s *story, args []string) {
	faults, err := intercomtest.ParseFaults(strings.Join(args, ""))
	ts.Check(err)
	ts.Check(s.sim(ts).SetFaults(faults...))
}

func cmdDamage(ts *testscript.TestScript, s *story, args []string) {
	if !json.Valid([]byte(args[3])) {
		ts.Fatalf("%s is not JSON", args[3])
	}
	sim := s.sim(ts)
	sim.damage(append(slices.Clone(sim.damages), damage{args[0], args[1], args[2], json.RawMessage(args[3])})...)
}

func cmdNoWrites(ts *testscript.TestScript, s *story, _ []string) {
	for name, sim := range s.sims {
		if v := sim.Stats().Violations; len(v) > 0 {
			ts.Fatalf("%s was asked to change: %v", name, v)
		}
	}
}

func cmdExits(ts *testscript.TestScript, s *story, args []string) {
	code, err := strconv.Atoi(args[0])
	ts.Check(err)
	if args[1] != "haloingest" {
		ts.Fatalf("exits N haloingest ...")
	}
	s.exits(ts, code, args[2:])
}

func (s *story) exits(ts *testscript.TestScript, want int, args []string) {
	code := 0
	var exit *exec.ExitError
	switch err := ts.Exec(s.self, args...); {
	case errors.As(err, &exit):
		code = exit.ExitCode()
	default:
		ts.Check(err)
	}
	s.judge(ts, args, code, want, ts.ReadFile("stdout"), ts.ReadFile("stderr"))
}

// judge holds one run of the program against the manners that all commands have.
func (s *story) judge(ts *testscript.TestScript, args []string, code, want int, stdout, stderr string) {
	if code != want {
		ts.Fatalf("haloingest %v ended with code %d, want %d", args, code, want)
	}
	for text, what := range s.secrets {
		if strings.Contains(stdout+stderr, text) {
			ts.Fatalf("haloingest %v shows %s", args, what)
		}
	}
	if err := manners(args, code, stdout, stderr); err != nil {
		ts.Fatalf("haloingest %v: %v", args, err)
	}
}

// manners checks what holds for every command line: no panic, errors in one line, one JSON value.
func manners(args []string, code int, stdout, stderr string) error {
	if strings.Contains(stderr, "panic") || strings.Contains(stderr, "goroutine ") {
		return errors.New("it panicked")
	}
	var complaints, other []string
	for line := range strings.Lines(stderr) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "time="), strings.HasPrefix(line, `{"time":`), strings.HasPrefix(line, "haloingest: stopping"), strings.HasPrefix(line, "Connected "):
		case strings.HasPrefix(line, "haloingest: "):
			complaints = append(complaints, line)
		default:
			other = append(other, line)
		}
	}
	switch {
	case len(other) > 0 && args[0] != "demo": // which tells its tour there where the result is JSON
		return fmt.Errorf("on stderr is neither a log line nor an error: %q", other)
	case len(complaints) > 1:
		return fmt.Errorf("it complains %d times: %q", len(complaints), complaints)
	case (code == exitDone || code == exitDiffers) && len(complaints) > 0:
		return fmt.Errorf("it ended with code %d and complains: %q", code, complaints)
	case (code == exitUsage || code == exitInvariant || code == exitDatabase || code == exitHeld) && len(complaints) == 0:
		return fmt.Errorf("it ended with code %d and does not say why", code)
	}
	if wantsJSON(args) {
		d := json.NewDecoder(strings.NewReader(stdout))
		var v any
		if err := d.Decode(&v); err != nil {
			return fmt.Errorf("its output is not JSON: %w", err)
		}
		if err := d.Decode(&v); !errors.Is(err, io.EOF) {
			return errors.New("its output is more than one JSON value")
		}
		if m, ok := v.(map[string]any); ok && m["exit_code"] != nil && m["exit_code"] != float64(code) {
			return fmt.Errorf("it ended with code %d and says exit_code %v", code, m["exit_code"])
		}
	}
	return nil
}

// process is the program in the background.
type process struct {
	cmd    *exec.Cmd
	args   []string
	stdout output
	stderr output
	done   chan struct{}
	before map[string]int64 // requests that the simulator had seen, by endpoint
}

// output is what a process has printed so far.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.done
}

func cmdStart(ts *testscript.TestScript, s *story, args []string) {
	if args[1] != "haloingest" {
		ts.Fatalf("start NAME haloingest ...")
	}
	p := &process{args: args[2:], done: make(chan struct{})}
	p.cmd = exec.Command(s.self, p.args...)
	p.cmd.Dir = ts.MkAbs(".")
	p.cmd.Env = append(os.Environ(), asProgram+"=1")
	for _, name := range allVariables() {
		if value := ts.Getenv(name); value != "" {
			p.cmd.Env = append(p.cmd.Env, name+"="+value)
		}
	}
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	if s.last != "" {
		p.before = s.sim(ts).Stats().Endpoints
	}
	ts.Check(p.cmd.Start())
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // ProcessState says it
	}()
	s.background[args[0]] = p
}

func (s *story) process(ts *testscript.TestScript, name string) *process {
	p := s.background[name]
	if p == nil {
		ts.Fatalf("there is no process %q", name)
	}
	return p
}

func cmdSignal(ts *testscript.TestScript, s *story, args []string) {
	signal, ok := map[string]syscall.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL}[args[1]]
	if !ok {
		ts.Fatalf("signal %q: want INT, TERM or KILL", args[1])
	}
	p := s.process(ts, args[0])
	ts.Check(p.cmd.Process.Signal(signal))
	for again := len(args) > 2 && args[2] == "again"; again; {
		select {
		case <-p.done:
			return
		case <-time.After(100 * time.Millisecond):
			_ = p.cmd.Process.Signal(signal) // it may have ended
		}
	}
}

// wait waits until something has come true of a process that runs.
func (s *story) wait(ts *testscript.TestScript, what string, p *process, true func() bool) {
	for deadline := time.Now().Add(2 * time.Minute); !true(); time.Sleep(10 * time.Millisecond) {
		select {
		case <-p.done:
			ts.Fatalf("haloingest %v has ended before %s: code %d\n%s%s", p.args, what, p.cmd.ProcessState.ExitCode(), p.stdout.String(), p.stderr.String())
		default:
		}
		if time.Now().After(deadline) {
			ts.Fatalf("haloingest %v: %s does not happen", p.args, what)
		}
	}
}

func cmdAsks(ts *testscript.TestScript, s *story, args []string) {
	p := s.process(ts, args[0])
	s.wait(ts, "it asks "+args[1], p, func() bool { return s.sim(ts).Stats().Endpoints[args[1]] > p.before[args[1]] })
}

func cmdSays(ts *testscript.TestScript, s *story, args []string) {
	p := s.process(ts, args[0])
	s.wait(ts, "it says "+args[1], p, func() bool { return strings.Contains(p.stderr.String(), args[1]) })
}

func cmdEnds(ts *testscript.TestScript, s *story, args []string) {
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	p := s.process(ts, args[0])
	select {
	case <-p.done:
	case <-time.After(2 * time.Minute):
		p.kill()
		fmt.Fprint(ts.Stderr(), p.stderr.String())
		ts.Fatalf("haloingest %v does not end", p.args)
	}
	fmt.Fprint(ts.Stdout(), p.stdout.String())
	fmt.Fprint(ts.Stderr(), p.stderr.String())
	s.judge(ts, p.args, p.cmd.ProcessState.ExitCode(), want, p.stdout.String(), p.stderr.String())
	delete(s.background, args[0])
}

// hideDatabase makes the password of a connection string a secret.
func (s *story) hideDatabase(address string) {
	if u, err := url.Parse(address); err == nil && u.User != nil {
		if password, ok := u.User.Password(); ok && password != "" {
			s.secrets[password] = "the database password"
		}
	}
}

// cmdSecret keeps the line of a file in a variable, which must not be shown from then on.
func cmdSecret(ts *testscript.TestScript, s *story, args []string) {
	text := strings.TrimSpace(ts.ReadFile(args[1]))
	ts.Setenv(args[0], text)
	s.secrets[text] = args[0]
}

func cmdCluster(ts *testscript.TestScript, s *story, args []string) {
	switch {
	case args[0] == "start" && s.cluster == nil:
		s.cluster = pgtest.Private(s.tb)
		ts.Setenv("HALOINGEST_DATABASE_URL", s.cluster.URL())
		s.hideDatabase(s.cluster.URL())
	case args[0] == "start":
		s.cluster.Start()
	case args[0] == "stop" && s.cluster != nil:
		s.cluster.Stop()
	case args[0] == "kill" && s.cluster != nil:
		s.cluster.Kill()
	default:
		ts.Fatalf("cluster start, then stop or kill")
	}
}

var untidy = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), "UUID"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC`), "TIME"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`), "TIME"},
	{regexp.MustCompile(`[\d,.]+ (s|min|h|days)\b`), "SPAN"},
	{regexp.MustCompile(`\d+(\.\d+)?(ms|µs|s|m\d+s)\b`), "SPAN"},
	{regexp.MustCompile(`[\d,]+ objects a second`), "N objects a second"},
	{regexp.MustCompile(`[\d.]+ % of the budget`), "N % of the budget"},
	{regexp.MustCompile(`[\d.]+ (KiB|MiB|B)\b`), "SIZE"},
	{regexp.MustCompile(`on \S+ \(process \d+\)`), "on HOST (process N)"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "127.0.0.1:PORT"},
	{regexp.MustCompile(` {2,}`), "  "}, // columns are as wide as what stands in them
	{regexp.MustCompile(`(?m) +$`), ""},
}

func cmdTidy(ts *testscript.TestScript, s *story, _ []string) {
	text := ts.ReadFile("stdout")
	for _, secret := range []string{ts.Getenv("ORG"), ts.Getenv("OTHER")} {
		text = strings.ReplaceAll(text, secret, "ORG")
	}
	for _, u := range untidy {
		text = u.pattern.ReplaceAllString(text, u.with)
	}
	ts.Check(os.WriteFile(filepath.Join(s.dir, "tidy"), []byte(text), 0o644))
}

// cmdBadPassword keeps the cluster's address over TCP with a wrong password in a variable.
func cmdBadPassword(ts *testscript.TestScript, s *story, args []string) {
	u, err := url.Parse(s.cluster.Server().TCPURL())
	ts.Check(err)
	u.User = url.UserPassword(u.User.Username(), "canary-password")
	ts.Setenv(args[0], u.String())
}
