package metric_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// deployDir is where rules and the dashboard are.
const deployDir = "../../../deploy"

func deployed(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(deployDir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// promtool runs Prometheus's tool.
func promtool(t *testing.T, input string, args ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("HALOINGEST_TEST_REQUIRE_PROMTOOL") != "" {
			t.Fatal("promtool is not found, and HALOINGEST_TEST_REQUIRE_PROMTOOL is set (Debian and Ubuntu have it in the package prometheus)")
		}
		t.Skip("promtool is not found (Debian and Ubuntu have it in the package prometheus)")
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Stdin = strings.NewReader(input)
	cmd.Dir = deployDir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// exposition is what a scraper is told.
func exposition(t *testing.T) string {
	t.Helper()
	w := httptest.NewRecorder()
	exercised(t).Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func TestPromtoolTakesTheMetrics(t *testing.T) { promtool(t, exposition(t), "check", "metrics") }

func TestPromtoolTakesTheAlertRules(t *testing.T) {
	promtool(t, "", "check", "rules", "alerts.yml")
}

func TestTheAlertRulesFireWhereTheyShould(t *testing.T) {
	promtool(t, "", "test", "rules", "alerts_test.yml")
}

// dashboard is the part of a Grafana dashboard that has queries.
type dashboard struct {
	Title  string `json:"title"`
	Panels []struct {
		ID      int    `json:"id"`
		Type    string `json:"type"`
		Title   string `json:"title"`
		GridPos struct{ X, Y, W, H int }
		Targets []struct {
			Expr string `json:"expr"`
		} `json:"targets"`
	} `json:"panels"`
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	if err := json.Unmarshal([]byte(deployed(t, "dashboard.json")), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// queries are the expressions of the dashboard, as Grafana fills them in.
func queries(t *testing.T) []string {
	var list []string
	for _, p := range readDashboard(t).Panels {
		for _, target := range p.Targets {
			list = append(list, strings.NewReplacer("$__rate_interval", "5m", "$job", "haloingest").Replace(target.Expr))
		}
	}
	if len(list) < 20 {
		t.Fatalf("%d queries in the dashboard", len(list))
	}
	return list
}

func TestPromtoolTakesTheQueriesOfTheDashboard(t *testing.T) {
	var rules bytes.Buffer
	rules.WriteString("groups:\n- name: dashboard\n  rules:\n")
	for i, q := range queries(t) {
		quoted, err := json.Marshal(q)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&rules, "  - {record: 'panel:%d', expr: %s}\n", i, quoted)
	}
	file := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(file, rules.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "", "check", "rules", file)
}

var (
	metricName  = regexp.MustCompile(`\b(?:haloingest|go|process|promhttp)_[a-z0-9_]+\b`)
	withLabels  = regexp.MustCompile(`\b((?:haloingest|go|process)_[a-z0-9_]+)\{([^{}]*(?:"[^"]*"[^{}]*)*)\}`)
	labelOfThat = regexp.MustCompile(`([a-z_]+)(?:=~|!~|!=|=)"`)
)

// expressions of the rules are what stands behind expr:, in one line or folded into several.
func ruleExpressions(t *testing.T) []string {
	var list []string
	lines := strings.Split(deployed(t, "alerts.yml"), "\n")
	for i := 0; i < len(lines); i++ {
		text, ok := strings.CutPrefix(strings.TrimSpace(lines[i]), "expr:")
		if !ok {
			continue
		}
		text = strings.TrimSpace(text)
		if text == ">-" {
			text = ""
			for i++; strings.HasPrefix(lines[i], strings.Repeat(" ", 10)); i++ {
				text += " " + strings.TrimSpace(lines[i])
			}
			i--
		}
		list = append(list, text)
	}
	if n := strings.Count(deployed(t, "alerts.yml"), "- alert:"); len(list) != n {
		t.Fatalf("%d expressions of %d rules", len(list), n)
	}
	return list
}

func TestEveryMetricThatRulesAndDashboardAskForExists(t *testing.T) {
	told := map[string]map[string]bool{} // labels, by metric
	for _, line := range strings.Split(exposition(t), "\n") {
		name := metricName.FindString(line)
		if name == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if told[name] == nil {
			told[name] = map[string]bool{"job": true, "instance": true} // which the scraper adds
		}
		for _, m := range withLabels.FindAllStringSubmatch(line, -1) {
			for _, l := range labelOfThat.FindAllStringSubmatch(m[2], -1) {
				told[name][l[1]] = true
			}
		}
	}
	asked := map[string]bool{}
	for _, q := range append(queries(t), ruleExpressions(t)...) {
		for _, name := range metricName.FindAllString(q, -1) {
			asked[name] = true
			if told[name] == nil {
				t.Errorf("there is no metric %s: %s", name, q)
			}
		}
		for _, m := range withLabels.FindAllStringSubmatch(q, -1) {
			for _, l := range labelOfThat.FindAllStringSubmatch(m[2], -1) {
				if told[m[1]] != nil && !told[m[1]][l[1]] {
					t.Errorf("%s has no label %s: %s", m[1], l[1], q)
				}
			}
		}
	}
	// And the other way: what is told and shown nowhere helps nobody.
	var unused []string
	for name := range told {
		base := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_sum"), "_count")
		if strings.HasPrefix(name, "haloingest_") && !asked[name] && !asked[base+"_bucket"] && !asked[base+"_count"] && !asked[base] {
			unused = append(unused, name)
		}
	}
	slices.Sort(unused)
	if len(unused) > 0 {
		t.Errorf("neither a rule nor the dashboard shows %v", unused)
	}
}

func TestEveryAlertSaysWhatToDoAndIsTested(t *testing.T) {
	tests := deployed(t, "alerts_test.yml")
	for _, rule := range strings.Split(deployed(t, "alerts.yml"), "- alert:")[1:] {
		name := strings.TrimSpace(strings.SplitN(rule, "\n", 2)[0])
		for _, part := range []string{"summary:", "description:", "runbook:", "severity:"} {
			if !strings.Contains(rule, part) {
				t.Errorf("%s has no %s", name, part)
			}
		}
		if !strings.Contains(tests, `"`+name+`"`) {
			t.Errorf("no test has %s fire", name)
		}
	}
}

func TestPanelsOfTheDashboardDoNotOverlap(t *testing.T) {
	taken := map[[2]int]string{}
	ids := map[int]bool{}
	for _, p := range readDashboard(t).Panels {
		if ids[p.ID] || p.Title == "" || p.Type == "" {
			t.Errorf("panel %d %q has no id, title or type of its own", p.ID, p.Title)
		}
		ids[p.ID] = true
		if p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("%q is wider than the page", p.Title)
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other, ok := taken[[2]int{x, y}]; ok {
					t.Fatalf("%q lies over %q", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
}
