package main

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"net/http"
	neturl "net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/urfave/cli/v2"

	"haloingest/sinks/postgres/localpg/pgtest"
)

func deployed(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A setting that is written wrong would be ignored without a word.
func TestEverySettingOfTheUnitAndTheImageIsOneOfServe(t *testing.T) {
	known := map[string]bool{}
	root := (&app{}).cli()
	serve := find(root.Commands, "serve")
	if serve == nil {
		t.Fatal("there is no command serve")
	}
	for _, flag := range serve.Flags {
		known[envName(flag.Names()[0])] = true
	}
	for _, file := range []string{"haloingest.service", "Containerfile"} {
		found := regexp.MustCompile(`\bHALOINGEST_[A-Z_]+\b`).FindAllString(deployed(t, file), -1)
		if len(found) < 3 {
			t.Errorf("%s sets %v only", file, found)
		}
		for _, name := range found {
			if !known[name] {
				t.Errorf("%s sets %s, which is no flag of serve", file, name)
			}
		}
		for _, m := range regexp.MustCompile(`haloingest serve((?: --[a-z-]+(?: [a-z0-9]+)?)+)`).FindAllStringSubmatch(deployed(t, file), -1) {
			for _, word := range strings.Fields(m[1]) {
				name, ok := strings.CutPrefix(word, "--")
				if ok && !slices.ContainsFunc(serve.Flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) }) {
					t.Errorf("%s: serve has no --%s", file, name)
				}
			}
		}
	}
}

func TestSystemdTakesTheUnit(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not found: this machine has no systemd")
	}
	// The program need not be installed here.
	file := filepath.Join(t.TempDir(), "haloingest.service")
	unit := strings.ReplaceAll(deployed(t, "haloingest.service"), "/usr/local/bin/haloingest", "/bin/true")
	if err := os.WriteFile(file, []byte(unit), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), analyze, "verify", file).CombinedOutput()
	if err != nil || len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

func TestTheUnitLeavesTimeForAStopInOrder(t *testing.T) {
	unit := deployed(t, "haloingest.service")
	for _, line := range []string{"TimeoutStopSec=90", "KillSignal=SIGTERM", "NoNewPrivileges=yes", "ProtectSystem=strict", "DynamicUser=yes",
		fmt.Sprintf("RestartPreventExitStatus=%d", exitUsage), fmt.Sprintf("SuccessExitStatus=%d", exitInterrupted)} {
		if !strings.Contains(unit, "\n"+line+"\n") {
			t.Errorf("the unit has no %s", line)
		}
	}
	if found := regexp.MustCompile(`(?m)^(?:Environment|ExecStart)=.*(?i)(?:secret|password|token)=`).FindString(unit); found != "" {
		t.Errorf("a secret stands in the unit, where everybody reads it: %s", found)
	}
}

// imageBuild is how the image's program is built.
var imageBuild = regexp.MustCompile(`(?m)^RUN CGO_ENABLED=0 go build (.*) -ldflags "(.*)" -o /out/haloingest \./cmd/haloingest$`)

func TestTheImageIsBuiltByTheToolchainOfTheModule(t *testing.T) {
	module, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`(?m)^go ([0-9.]+)$`).FindSubmatch(module)
	if version == nil {
		t.Fatal("go.mod names no version")
	}
	file := deployed(t, "Containerfile")
	if want := fmt.Sprintf("FROM docker.io/library/golang:%s-", version[1]); !strings.Contains(file, want) {
		t.Errorf("the image does not begin with %s", want)
	}
	if !imageBuild.MatchString(file) {
		t.Error("the image builds nothing")
	}
	// Every folder of the module that has code is copied.
	for _, folder := range []string{"cmd", "pipeline", "sinks", "sources", "stages"} {
		if !strings.Contains(file, fmt.Sprintf("\nCOPY %s %s\n", folder, folder)) {
			t.Errorf("the image is built without %s", folder)
		}
	}
}

// The image cannot be built everywhere, but what it holds can: the same program, with the same files and nothing else.
func TestTheImagesProgramServesFromAnEmptyRoot(t *testing.T) {
	switch {
	case os.Getenv("HALOINGEST_PROOF") != "long":
		t.Skip("builds the whole program anew; HALOINGEST_PROOF=long runs it")
	case runtime.GOOS != "linux" || os.Geteuid() != 0:
		t.Skip("only root of a Linux can give a process a root of its own")
	}
	reach, err := pgx.ParseConfig(pgtest.New(t))
	if err != nil {
		t.Fatal(err)
	}
	host := reach.Host
	if strings.HasPrefix(host, "/") { // there is no socket of the server's in a root of its own, but loopback is
		host = "127.0.0.1"
	}
	url := fmt.Sprintf("postgres://%s@%s:%d/%s", neturl.UserPassword(reach.User, reach.Password), host, reach.Port, reach.Database)
	build := imageBuild.FindStringSubmatch(deployed(t, "Containerfile"))
	root := t.TempDir()
	if err := os.Chmod(filepath.Dir(root), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"usr/local/bin", "data", "tmp", "etc/ssl/certs"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"data", "tmp"} {
		if err := os.Chown(filepath.Join(root, dir), 65532, 65532); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(root, "usr/local/bin/haloingest")
	args := append([]string{"build"}, strings.Fields(build[1])...)
	args = append(args, "-ldflags", strings.ReplaceAll(build[2], "${VERSION}", "v9.9.9-image"), "-o", program, ".")
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	file, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if libraries, err := file.ImportedLibraries(); err != nil || len(libraries) > 0 || file.Section(".interp") != nil {
		t.Errorf("the program is not static: %v, %v", libraries, err)
	}
	inside := func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), "/usr/local/bin/haloingest", args...)
		cmd.Path, cmd.Err, cmd.Dir = "/usr/local/bin/haloingest", nil, "/data"
		cmd.Env = []string{"HALOINGEST_DATA_DIR=/data", "HALOINGEST_LISTEN=127.0.0.1:0", "HALOINGEST_LOG_FORMAT=json", "HALOINGEST_DATABASE_URL=" + url}
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
		return cmd
	}
	out, err := inside("--version").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "v9.9.9-image") {
		t.Fatalf("--version: %v\n%s", err, out)
	}
	var errs bytes.Buffer
	serving := inside("serve", "--url-file", "/data/url")
	serving.Stderr, serving.Stdout = &errs, &errs
	if err := serving.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- serving.Wait() }()
	var address []byte
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if address, err = os.ReadFile(filepath.Join(root, "data/url")); err == nil {
			break
		}
		if time.Now().After(deadline) {
			_ = serving.Process.Kill()
			<-ended
			t.Fatalf("it does not serve:\n%s", errs.String())
		}
	}
	base := strings.TrimSpace(string(address))
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/login"} {
		response, err := http.Get(base + path)
		if err != nil {
			t.Error(err)
			continue
		}
		body, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if response.StatusCode != http.StatusOK || len(body) == 0 {
			t.Errorf("%s: %d %s", path, response.StatusCode, body)
		}
	}
	if err := serving.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("it was asked to stop, and ends with %v\n%s", err, errs.String())
	}
}
