package cli

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"artemis.example/policy/decision"
	"artemis.example/policy/explain"
	"artemis.example/policy/lint"
	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

// projectOf lays the two Cells of policy/explain's tests out as a project.
func projectOf(t *testing.T) *place {
	t.Helper()
	root := t.TempDir()
	for to, from := range map[string]string{
		"openchoreo/rendered/all.yaml":  "zero-trust.yaml",
		"istio/stages/open/all.yaml":    "open.yaml",
		"istio/stages/mtls/all.yaml":    "mtls.yaml",
		"istio/cells/none.yaml":         "",
		"adversary/manifests/none.yaml": "",
	} {
		data := []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: nothing-else, namespace: default}\n...\n")
		if to == "adversary/manifests/none.yaml" {
			data = []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: no-adversary, namespace: default}\n")
		}
		if from != "" {
			var err error
			if data, err = os.ReadFile(filepath.Join("..", "..", "policy", "explain", "testdata", from)); err != nil {
				t.Fatal(err)
			}
		}
		path := filepath.Join(root, to)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return &place{root: root}
}

func runCommand(cmd *cobra.Command, args ...string) (string, error) {
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(args)
	err := cmd.Execute()
	return out.String(), err
}

func TestExplainAnswersInWordsAndByItsExitCode(t *testing.T) {
	out, err := runCommand(newExplainCommand(projectOf(t)), "--from", "orion/adversary", "--to", "orion/guidance-nav",
		"GET", "/position")
	if err != exitError(1) {
		t.Errorf("error %v, want exit code 1", err)
	}
	want := `denied-l7: orion/adversary -> orion/guidance-nav GET /position, stage zero-trust
decided at waypoint: ALLOW policies apply, but none of their rules matches: orion-ns/default-deny, orion-ns/guidance-nav-authz
the caller sees: 403 RBAC: access denied

1. layer 1  passes   the caller to orion/waypoint, port 15008: a NetworkPolicy admits it; everything of the mesh arrives on this port [orion-ns/allow-istio-hbone]
2. layer 3  refused  orion/waypoint for Service guidance-nav: ALLOW policies apply, but none of their rules matches: orion-ns/default-deny, orion-ns/guidance-nav-authz

nearest rules:
  ns[orion-ns]-policy[guidance-nav-authz]-rule[0]: allowed for houston/capcom; you are orion/adversary
`
	if diff := cmp.Diff(want, out); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
}

func TestExplainAnswersAsJSON(t *testing.T) {
	out, err := runCommand(newExplainCommand(projectOf(t)), "--from", "orion/adversary", "--to", "orion/guidance-nav",
		"/position", "--stage", "mtls", "--json")
	if err != nil {
		t.Fatal(err)
	}
	var a explain.Answer
	if err := json.Unmarshal([]byte(out), &a); err != nil {
		t.Fatal(err)
	}
	if a.Verdict != decision.Allowed || a.Stage != "mtls" || a.Method != "GET" {
		t.Errorf("answer %+v, want GET allowed at mtls", a)
	}
}

func TestAWrongQuestionIsWrongUsage(t *testing.T) {
	at := projectOf(t)
	for _, args := range [][]string{
		{"/position"},
		{"--from", "orion/nobody", "--to", "orion/guidance-nav", "/position"},
		{"--from", "orion/adversary", "/position"},
		{"--from", "orion/adversary", "--to", "orion/guidance-nav", "-f", "nowhere"},
		{"--from", "orion/adversary", "--to", "orion/guidance-nav", "--stage", "nowhere"},
		{"--from", "orion/adversary", "--to", "orion/guidance-nav", "/", "--header", "x"},
	} {
		_, err := runCommand(newExplainCommand(at), args...)
		var usage usageError
		if !errors.As(err, &usage) {
			t.Errorf("explain %s: error %v, want one about usage", strings.Join(args, " "), err)
		}
	}
}

func TestLintSaysWhatItFindsAndExitsWithIt(t *testing.T) {
	at := projectOf(t)
	out, err := runCommand(newLintCommand(at), filepath.Join(at.root, "openchoreo"), "--json")
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var r lint.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	if r.Files != 1 || r.Count(lint.Error) != 0 {
		t.Errorf("report %+v, want one file without errors", r)
	}
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: "+
		"{name: lost, namespace: off}\nspec: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err = runCommand(newLintCommand(at), bad)
	if err != exitError(1) {
		t.Errorf("error %v, want exit code 1", err)
	}
	if want := bad + ":3: error [yaml-boolean] AuthorizationPolicy off/lost: metadata.namespace: off without quotes " +
		"is the boolean false in YAML"; !strings.Contains(out, want) {
		t.Errorf("output:\n%s\nwant in it:\n%s", out, want)
	}
	var usage usageError
	if _, err := runCommand(newLintCommand(at), filepath.Join(at.root, "nowhere")); !errors.As(err, &usage) {
		t.Errorf("a directory that is not there: error %v, want one about usage", err)
	}
}

// cluster is what kubectl gives of a shop in an ambient mesh.
const cluster = "../../policy/lint/testdata/cluster.yaml"

func TestExplainAsksAnybodysManifests(t *testing.T) {
	at := &place{root: t.TempDir()} // no project anywhere
	for _, c := range []struct {
		args string
		want error
		line string
	}{
		{"--from shop/web --to cart.shop GET /cart/7", nil, "allowed: shop/web -> shop/cart GET /cart/7"},
		{"--from cluster.local/ns/shop/sa/web --to http://cart.shop.svc.cluster.local/cart/7", nil,
			"allowed: shop/web -> shop/cart GET /cart/7"},
		{"--from system:serviceaccount:shop:web --to shop/cart:80 DELETE /cart/7", exitError(1),
			"denied-l7: shop/web -> shop/cart DELETE /cart/7"},
		{"--from legacy/batch --to pod:shop/cart", exitError(1), "denied-l4: legacy/batch -> shop/cart GET /"},
		{"--from ingress --to shop/web", exitError(1), "denied-l4: edge/front -> shop/web GET /"},
		{"--from shop/cart --to http://web.shop/account", exitError(2),
			"not judged: spec.rules[1].from[0].source.requestPrincipals in " + cluster +
				":1869: nothing verifies tokens here"},
		{"--from shop/web --to kubernetes.default", exitError(2), "not judged: spec in " + cluster +
			":537: has no selector: somebody else says what its endpoints are"},
	} {
		out, err := runCommand(newExplainCommand(at), append(strings.Fields(c.args), "-f", cluster)...)
		if err != c.want || !strings.Contains(out, c.line+"\n") {
			t.Errorf("explain %s: %v, want %v; output:\n%s\nwant in it:\n%s", c.args, err, c.want, out, c.line)
		}
	}
	_, err := runCommand(newExplainCommand(at), "--from", "shop/wbe", "--to", "shop/cart", "-f", cluster)
	var usage usageError
	if !errors.As(err, &usage) || err.Error() != "--from: nobody is called shop/wbe; did you mean shop/web?" {
		t.Errorf("a misspelt name: %v", err)
	}
}

func TestWhereNothingIsJudgedTheExitCodeIsTwo(t *testing.T) {
	at := &place{root: t.TempDir()}
	empty, values := t.TempDir(), filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(values, []byte("replicas: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, cmd := range []*cobra.Command{newLintCommand(at), newExplainCommand(at)} {
		for _, path := range []string{empty, values, filepath.Join(empty, "nowhere")} {
			args := []string{"-f", path}
			if cmd.Name() == "explain" {
				args = append(args, "--from", "a/b", "--to", "c/d")
			}
			var usage usageError
			if _, err := runCommand(cmd, args...); !errors.As(err, &usage) {
				t.Errorf("%s -f %s: %v, want an error about usage", cmd.Name(), path, err)
			}
		}
	}
	var usage usageError
	if _, err := runCommand(newExplainCommand(at), "--from", "a/b", "--to", "c/d"); !errors.As(err, &usage) {
		t.Errorf("explain outside of a project: %v, want an error about usage", err)
	}
}

// What is silenced is in the formats of others as what they call it, by where the word
// stands.
func TestWhatIsSilencedIsShown(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	deny := func(name string) string {
		return "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: " + name +
			", namespace: shop}\nspec: {targetRefs: [{kind: Service, name: cart}], action: DENY, rules: [{to: " +
			"[{operation: {paths: [/admin]}}]}]}\n"
	}
	manifests := write("deny.yaml", "# artemis-lint: ignore deny-by-path raw paths\n"+deny("a")+"---\n"+deny("b"))
	silences := write("silences.yaml",
		"silences: [{check: deny-by-path, object: AuthorizationPolicy shop/b, reason: raw as well}]\n")
	lintAs := func(format string) string {
		cmd := newLintCommand(&place{root: t.TempDir()})
		out, err := runCommand(cmd, manifests, "--silence", silences, "-o", format)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	type suppression struct{ Kind, Justification string }
	var sarif struct {
		Runs []struct {
			Results []struct {
				Suppressions []suppression
			}
		}
	}
	if err := json.Unmarshal([]byte(lintAs("sarif")), &sarif); err != nil {
		t.Fatal(err)
	}
	var got []suppression
	for _, r := range sarif.Runs[0].Results {
		got = append(got, r.Suppressions...)
	}
	if diff := cmp.Diff([]suppression{{"inSource", "raw paths"}, {"external", "raw as well"}}, got); diff != "" {
		t.Errorf("SARIF (-want +got)\n%s", diff)
	}
	if out := lintAs("junit"); strings.Count(out, "<skipped message=") != 2 || !strings.Contains(out, `skipped="2"`) {
		t.Errorf("JUnit: %s", out)
	}
	if out := lintAs("text"); !strings.Contains(out, "2 silenced") {
		t.Errorf("text: %s", out)
	}
	bad := write("bad.yaml", "silence: []\n")
	var usage usageError
	_, err := runCommand(newLintCommand(&place{root: t.TempDir()}), manifests, "--silence", bad)
	if !errors.As(err, &usage) {
		t.Errorf("a file of no silences: %v, want an error about usage", err)
	}
}

func TestLintAnswersInTheFormatsOfOthers(t *testing.T) {
	list, err := os.ReadFile(cluster)
	if err != nil {
		t.Fatal(err)
	}
	lintStdin := func(args ...string) string {
		cmd := newLintCommand(&place{root: t.TempDir()})
		cmd.SetIn(bytes.NewReader(list))
		out, err := runCommand(cmd, append([]string{"-"}, args...)...)
		if err != exitError(1) {
			t.Fatalf("lint - %v: %v", args, err)
		}
		return out
	}
	var sarif struct {
		Version string
		Runs    []struct {
			Tool struct {
				Driver struct{ Rules []struct{ ID string } }
			}
			Results []struct {
				RuleID, Level string
				Locations     []struct {
					PhysicalLocation struct{ Region struct{ StartLine int } }
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(lintStdin("-o", "sarif")), &sarif); err != nil {
		t.Fatal(err)
	}
	if r := sarif.Runs[0]; sarif.Version != "2.1.0" || len(r.Tool.Driver.Rules) != len(lint.Checks()) ||
		len(r.Results) != 6 ||
		r.Results[1].RuleID != "ingress-not-through-waypoint" || r.Results[1].Level != "error" ||
		r.Results[1].Locations[0].PhysicalLocation.Region.StartLine != 942 {
		t.Errorf("SARIF: %+v", r.Results)
	}
	var junit struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Cases    []struct {
			Class string `xml:"classname,attr"`
		} `xml:"testcase"`
	}
	if err := xml.Unmarshal([]byte(lintStdin("-o", "junit")), &junit); err != nil {
		t.Fatal(err)
	}
	if junit.Failures != 2 || junit.Tests != len(junit.Cases) || junit.Tests != len(lint.Checks()) {
		t.Errorf("JUnit: %d of %d failures, want 2 of %d", junit.Failures, junit.Tests, len(lint.Checks()))
	}
	if out := lintStdin("-o", "yaml"); !strings.HasPrefix(out, "apiVersion: artemis.example/v1\n") ||
		!strings.Contains(out, "\nkind: LintReport\n") {
		t.Errorf("YAML: %.80s", out)
	}
	var report struct {
		APIVersion, Kind string
		Findings         []lint.Finding
	}
	if err := json.Unmarshal([]byte(lintStdin("--json")), &report); err != nil || report.Kind != "LintReport" ||
		len(report.Findings) != 6 {
		t.Errorf("JSON: %+v, %v", report, err)
	}
	checks, err := runCommand(newLintCommand(&place{}), "--checks")
	if err != nil || strings.Count(checks, "\n") != len(lint.Checks()) {
		t.Errorf("--checks: %v\n%s", err, checks)
	}
}
