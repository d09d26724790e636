package pipeline_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const module = "haloingest"

// sideDoors are the stated exceptions to "sources, stages and sinks never import one another".
var sideDoors = map[[2]string]string{
	{"sources/snapshot", "sinks/parquet"}:                "reads the row schema that the snapshot was written with",
	{"sources/snapshot", "sinks/diff"}:                   "is a side of a diff",
	{"sources/halo", "sinks/diff"}:                       "is a side of a diff",
	{"sources/intercom/intercomtest", "sources/webhook"}: "signs deliveries as the handler verifies them",
}

// outside lists what each package of the engine may import beside the standard library.
var outside = map[string][]string{
	"pipeline":          {"github.com/sourcegraph/conc"},
	"pipeline/record":   nil,
	"pipeline/pipetest": {"github.com/google/go-cmp"},
}

// concurrent are the folders whose code may start goroutines and use channels.
var concurrent = map[string]string{
	"pipeline":                      "the engine",
	"cmd":                           "the process edge",
	"sources/intercom/intercomtest": "an HTTP server",
	"sinks/postgres/localpg":        "looks after a child process",
}

// concurrentFiles are single files that may do so.
var concurrentFiles = map[string]string{
	"sinks/postgres/lease.go":  "one heartbeat, which must go on while a batch is under way",
	"sources/webhook/batch.go": "the process edge: joins what concurrent requests bring into one transaction",
}

// helpers are packages that test files anywhere may import; so may those of packages named *test.
var helpers = []string{"pipeline/pipetest", "sinks/postgres/localpg"}

// room is the part of the program that a package belongs to: the first two elements of its path
// for sources, stages and sinks ("sinks/postgres"), else the first, and the package itself in pipeline.
func room(pkg string) string {
	parts := strings.Split(pkg, "/")
	switch parts[0] {
	case "sources", "stages", "sinks":
		return strings.Join(parts[:min(2, len(parts))], "/")
	case "pipeline":
		return pkg
	}
	return parts[0]
}

func isStandard(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return !strings.Contains(first, ".") && first != module
}

// under reports whether pkg is folder or lies in it.
func under(pkg, folder string) bool { return pkg == folder || strings.HasPrefix(pkg, folder+"/") }

// forbidden says why the package may not import that path, or "".
func forbidden(pkg, importPath string, inTest bool) string {
	if isStandard(importPath) {
		return ""
	}
	to, ours := strings.CutPrefix(importPath, module+"/")
	if !ours {
		allowed, limited := outside[pkg]
		switch {
		case inTest:
			return ""
		case limited && !slices.ContainsFunc(allowed, func(m string) bool { return under(importPath, m) }):
			return fmt.Sprintf("%s may import the standard library and %v only", pkg, allowed)
		case !limited && !under(pkg, "cmd") && (under(importPath, "github.com/sourcegraph/conc") || under(importPath, "golang.org/x/sync")):
			return "only pipeline starts goroutines; use pipeline.ForEach"
		}
		return ""
	}
	isHelper := slices.Contains(helpers, to) || strings.HasSuffix(to, "test")
	from, at := room(pkg), room(to)
	switch {
	case inTest && (isHelper || pkg == to):
		return ""
	case inTest && under(pkg, "stages") && under(to, "stages"):
		return "" // a stage's tests may feed it with what the stage before it makes
	case at == "cmd" && from != "cmd":
		return "nothing imports cmd"
	case from == "cmd", from == at:
		return ""
	case pkg == "pipeline", pkg == "pipeline/record":
		return pkg + " imports no other package of the program"
	case to == "pipeline" || to == "pipeline/record" && pkg != "pipeline/pipetest":
		return ""
	case sideDoors[[2]string{pkg, to}] != "":
		return ""
	}
	return "sources, stages and sinks import pipeline, pipeline/record and their own folder only"
}

// loose returns what in a Go file starts goroutines or uses channels, with line numbers.
func loose(name string, src any) ([]string, error) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, src, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var found []string
	note := func(n ast.Node, what string) {
		found = append(found, fmt.Sprintf("line %d: %s", files.Position(n.Pos()).Line, what))
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			note(n, "go statement")
		case *ast.ChanType:
			note(n, "channel type")
		case *ast.SelectStmt:
			note(n, "select statement")
		case *ast.SelectorExpr:
			if n.Sel.Name == "Go" || n.Sel.Name == "AfterFunc" {
				note(n, n.Sel.Name+" starts a goroutine")
			}
		}
		return true
	})
	return found, nil
}

type listed struct {
	ImportPath, Dir                    string
	Imports, TestImports, XTestImports []string
	GoFiles, CgoFiles, IgnoredGoFiles  []string
}

// TestTheHouseIsBuiltAsPlanned checks every package there is. Packages that do not build, or import
// what is not there yet, are checked like the others.
func TestTheHouseIsBuiltAsPlanned(t *testing.T) {
	list := exec.Command("go", "list", "-e", "-json=ImportPath,Dir,Imports,TestImports,XTestImports,GoFiles,CgoFiles,IgnoredGoFiles", "./...")
	list.Dir = ".."
	var stderr bytes.Buffer
	list.Stderr = &stderr
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	seen := 0
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		seen++
		pkg := strings.TrimPrefix(p.ImportPath, module+"/")
		switch top, _, _ := strings.Cut(pkg, "/"); top {
		case "cmd", "pipeline", "sources", "stages", "sinks":
		default:
			t.Errorf("package %s stands outside cmd, pipeline, sources, stages and sinks", pkg)
			continue
		}
		for _, to := range p.Imports {
			if why := forbidden(pkg, to, false); why != "" {
				t.Errorf("%s imports %s: %s", pkg, to, why)
			}
		}
		for _, to := range slices.Concat(p.TestImports, p.XTestImports) {
			if why := forbidden(pkg, to, true); why != "" {
				t.Errorf("a test of %s imports %s: %s", pkg, to, why)
			}
		}
		if mayBeConcurrent(pkg) {
			continue
		}
		for _, name := range slices.Concat(p.GoFiles, p.CgoFiles, p.IgnoredGoFiles) {
			if concurrentFiles[path.Join(pkg, name)] != "" || strings.HasSuffix(name, "_test.go") {
				continue
			}
			src, err := os.ReadFile(filepath.Join(p.Dir, name))
			if errors.Is(err, os.ErrNotExist) {
				continue // removed since it was listed
			}
			found, err := loose(name, src)
			if err != nil {
				t.Errorf("%s: %v", pkg, err)
			}
			for _, f := range found {
				t.Errorf("%s/%s, %s; goroutines and channels belong to pipeline and the process edge", pkg, name, f)
			}
		}
	}
	if seen < 3 {
		t.Errorf("go list named %d packages only", seen)
	}
}

func mayBeConcurrent(pkg string) bool {
	if pkg == "pipeline/record" {
		return false
	}
	for folder := range concurrent {
		if under(pkg, folder) {
			return true
		}
	}
	return false
}

func TestWhichArrowsAreForbidden(t *testing.T) {
	for _, tt := range []struct {
		from, to string
		inTest   bool
		ok       bool
	}{
		{"pipeline", "context", false, true},
		{"pipeline", "github.com/sourcegraph/conc/panics", false, true},
		{"pipeline", "github.com/jackc/pgx/v5", false, false},
		{"pipeline", "haloingest/pipeline/record", false, false},
		{"pipeline", "haloingest/pipeline/pipetest", true, true},
		{"pipeline", "go.uber.org/goleak", true, true},
		{"pipeline/record", "github.com/google/uuid", false, false},
		{"pipeline/record", "haloingest/pipeline", false, false},
		{"pipeline/pipetest", "haloingest/pipeline", false, true},
		{"pipeline/pipetest", "github.com/google/go-cmp/cmp", false, true},
		{"pipeline/pipetest", "haloingest/pipeline/record", false, false},
		{"sources/intercom", "haloingest/pipeline/record", false, true},
		{"sources/intercom", "haloingest/sources/intercom/intercomtest", true, true},
		{"sources/intercom", "haloingest/sinks/postgres", false, false},
		{"sources/intercom", "haloingest/sinks/postgres", true, false},
		{"sources/intercom", "haloingest/sources/webhook", false, false},
		{"sources/intercom", "golang.org/x/sync/errgroup", false, false},
		{"sources/intercom/intercomtest", "haloingest/sources/webhook", false, true},
		{"sources/snapshot", "haloingest/sinks/parquet", false, true},
		{"sinks/parquet", "haloingest/sources/snapshot", false, false},
		{"stages/dedupe", "haloingest/stages/mapids", false, false},
		{"stages/dedupe", "haloingest/stages/mapids", true, true},
		{"stages/dedupe", "haloingest/sinks/postgres", true, false},
		{"stages/dedupe", "haloingest/pipeline/pipetest", true, true},
		{"stages/dedupe", "haloingest/pipeline/pipetest", false, false},
		{"sinks/postgres", "haloingest/sinks/postgres/localpg", false, true},
		{"sinks/diff", "haloingest/sinks/postgres/localpg", true, true},
		{"sinks/postgres", "haloingest/cmd/haloingest/internal/config", false, false},
		{"cmd/haloingest", "haloingest/sinks/postgres", false, true},
		{"cmd/haloingest", "haloingest/sources/intercom/intercomtest", false, true},
	} {
		if why := forbidden(tt.from, tt.to, tt.inTest); (why == "") != tt.ok {
			t.Errorf("%s -> %s (test: %v): %q, want it allowed: %v", tt.from, tt.to, tt.inTest, why, tt.ok)
		}
	}
}

func TestWhatCountsAsConcurrency(t *testing.T) {
	const src = `package p

// go func() {}() in a comment, and "select" in a text, are nothing.
var text = "go chan select"

func f(ctx context.Context, in chan int) {
	go f(nil, nil)
	select {}
	var wg sync.WaitGroup
	wg.Go(func() {})
	<-ctx.Done()
	time.AfterFunc(0, nil)
}
`
	found, err := loose("p.go", src)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"line 6: channel type", "line 7: go statement", "line 8: select statement",
		"line 10: Go starts a goroutine", "line 12: AfterFunc starts a goroutine",
	}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
}
