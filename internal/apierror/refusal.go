package apierror

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/internal/object"
)

// noChange matches the rules by which the API server, the schema of a custom resource or a webhook
// refuses that a field changes at all: "field is immutable", "may not change once set", "cannot change
// roleRef", "updates to parameters are forbidden.". testdata/refusals holds what a real API server
// answers for each built-in kind that has such a field.
var noChange = regexp.MustCompile(`(?i)\bimmutable\b|\bread-?only\b|self == oldSelf|oldSelf == self|` +
	`updates to .*(forbidden|not allowed)|\b(once|after|after being) (it (is|was|has been) )?(set|creat\w+|bound|established)\b|` +
	`\b(may|must|can|could|should|shall|is|are)( ?not|n't) (be )?(allowed to (be )?)?(chang|updat|modif|unset|edit|alter|mutat|reassign)`)

// difference matches the lines that the API server shows of what would change in a claim.
var difference = regexp.MustCompile(`(?m)^[+-](.*)$`)

// Immutable returns whether the API server refused an object only because a field must not change, so
// that the object can be had by deleting it and creating it anew. A refusal that has another cause as
// well, or that is about a claim which would shrink, is none: a new object would be refused too, or
// would lose what the old one holds.
func Immutable(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return false
	}
	s := status.Status()
	switch {
	case s.Reason != metav1.StatusReasonInvalid && s.Reason != metav1.StatusReasonForbidden && s.Reason != metav1.StatusReasonBadRequest:
		return false
	case s.Details == nil || len(s.Details.Causes) == 0:
		// A webhook answers without causes.
		_, words, denied := strings.Cut(s.Message, "denied the request: ")
		return denied && noChange.MatchString(words)
	}
	return !slices.ContainsFunc(s.Details.Causes, func(c metav1.StatusCause) bool { return !immutableCause(c) })
}

func immutableCause(c metav1.StatusCause) bool {
	text := strings.TrimSpace(c.Message)
	rule, shown, _ := strings.Cut(text, "\n")
	switch c.Type {
	case metav1.CauseTypeFieldValueInvalid, "FieldValueForbidden", "":
	default:
		return false
	}
	if !noChange.MatchString(withoutValue(rule)) {
		return false
	}
	return !resizes(rule, shown)
}

// resizes returns whether only the size of a claim would change: a claim grows once it is bound, and
// never shrinks.
func resizes(rule, shown string) bool {
	return strings.Contains(rule, "except resources.requests") &&
		!slices.ContainsFunc(difference.FindAllString(shown, -1), func(line string) bool { return !strings.Contains(line, `"storage":`) })
}

// Final returns whether only a change of the object helps: trying the same again would be refused in
// the same way. What depends on something else in the cluster (a policy, a quota, an address that is
// taken, an entry that another manager has put into a list, the schema of a custom resource) is not
// final.
func Final(err error, id object.ID) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return false
	}
	if Immutable(err) {
		return true
	}
	s := status.Status()
	if !object.BuiltIn(id.Group) {
		return false
	}
	switch {
	case strings.Contains(s.Message, "denied request") || strings.Contains(s.Message, "denied the request"):
		return false
	case s.Reason == metav1.StatusReasonInvalid && s.Details != nil && len(s.Details.Causes) > 0:
		return !slices.ContainsFunc(s.Details.Causes, func(c metav1.StatusCause) bool {
			return c.Field == "" || c.Type == metav1.CauseTypeFieldValueNotFound || c.Type == metav1.CauseTypeFieldValueDuplicate || strings.Contains(c.Message, "allocat")
		})
	}
	_, typed := typeErrors(s.Message)
	return typed
}

// Explain gives in one line the reason why an object was refused: paths and rules, never a value. What the API
// server writes in its own words can quote the object, so each value that was sent is taken out of
// it, and for a Secret no words are kept but those that name no value.
func Explain(err error, id object.ID) string { return ExplainApply(err, object.Object{ID: id}) }

// ExplainApply is Explain for an object whose content was sent.
func ExplainApply(err error, o object.Object) string {
	var c *ConflictError
	var k *KindNotFoundError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &c) && c.Owner():
		return Clean("is owned by " + firstThree(c.Managers))
	case errors.As(err, &c):
		return Clean("conflicts on " + c.Error())
	case errors.As(err, &k):
		return k.Error()
	case errors.Is(err, context.DeadlineExceeded):
		return "the cluster did not answer in time"
	case NamespaceMissing(err, o.ID):
		return fmt.Sprintf("namespace %q does not exist", o.Namespace)
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return Clean(err.Error())
	}
	return Clean(explain(status.Status(), sent(o)))
}

func explain(s metav1.Status, from content) string {
	if fields := explainCauses(s, from); fields != "" {
		return fields
	}
	if lines, ok := typeErrors(s.Message); ok {
		return explainTypes(lines, from)
	}
	if m := rbacRefusal.FindStringSubmatch(s.Message); m != nil {
		return "the credentials of the hub may not " + m[1] + " " + m[2]
	}
	if m := denial.FindStringSubmatch(s.Message); m != nil {
		if from.secret {
			return "refused by " + m[1]
		}
		return "refused by " + m[1] + ": " + from.scrub(m[2])
	}
	if from.secret {
		return fmt.Sprintf("refused: %s (%d)", s.Reason, s.Code)
	}
	return from.scrub(s.Message)
}

var (
	rbacRefusal = regexp.MustCompile(`is forbidden: User .* cannot (\w+) resource "([a-z0-9./-]+)"`)
	denial      = regexp.MustCompile(`(?s)((?:ValidatingAdmissionPolicy '[^']+'(?: with binding '[^']+')?)|(?:admission webhook "[^"]+")) denied (?:the )?request(?::\s*(.*))?$`)
)

// explainCauses names which fields are invalid and by which rule.
func explainCauses(s metav1.Status, from content) string {
	if s.Details == nil {
		return ""
	}
	var out []string
	for _, cause := range s.Details.Causes {
		if cause.Field == "" {
			return ""
		}
		text := Path(cause.Field)
		if rule := explainRule(cause, from); rule != "" {
			text += ": " + rule
		}
		if !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	if len(out) > 3 {
		out = append(out[:3], fmt.Sprintf("and %d more", len(out)-3))
	}
	return strings.Join(out, "; ")
}

// explainRule returns the rule that a cause names, without the value: the API server writes "Invalid
// value: "x": rule", "Forbidden: rule", "Unsupported value: "x": supported values: …".
func explainRule(cause metav1.StatusCause, from content) string {
	rule, shown, _ := strings.Cut(strings.TrimSpace(cause.Message), "\n")
	rule = withoutValue(rule)
	switch {
	case resizes(rule, shown):
		return "a claim grows only once it is bound, and never shrinks"
	case immutableCause(cause):
		return "is immutable"
	case cause.Type == metav1.CauseTypeFieldValueRequired:
		return "is required"
	case cause.Type == metav1.CauseTypeFieldValueDuplicate:
		return "is there twice"
	case cause.Type == metav1.CauseTypeFieldValueNotFound:
		return "names what is not there"
	case cause.Type == metav1.CauseTypeFieldValueNotSupported && strings.HasPrefix(rule, "supported values: "):
		return "is not one of " + strings.TrimPrefix(rule, "supported values: ")
	case cause.Type == metav1.CauseTypeFieldValueNotSupported, from.secret:
		return "is not valid"
	}
	rule, _, _ = strings.Cut(rule, " (e.g.")
	return strings.TrimSuffix(from.scrub(rule), ",")
}

// withoutValue cuts the kind of a cause and the value off its message.
func withoutValue(message string) string {
	kind, rest, ok := strings.Cut(message, ": ")
	switch kind {
	case "Forbidden", "Required value", "Too long", "Too many", "Too few", "Internal error":
		return rest
	case "Invalid value", "Unsupported value", "Duplicate value", "Not found":
	default:
		return message
	}
	if !ok {
		return ""
	}
	if quoted, err := strconv.QuotedPrefix(rest); err == nil {
		return strings.TrimPrefix(rest[len(quoted):], ": ")
	}
	if strings.HasPrefix(rest, "{") || strings.HasPrefix(rest, "[") {
		decoder := json.NewDecoder(strings.NewReader(rest))
		var value json.RawMessage
		if decoder.Decode(&value) != nil {
			return ""
		}
		return strings.TrimPrefix(rest[decoder.InputOffset():], ": ")
	}
	_, rule, _ := strings.Cut(rest, ": ")
	return rule
}

// typeErrors returns what the API server reports about fields of a wrong type or that do not exist,
// which it answers as an internal error or a bad request without causes.
func typeErrors(message string) ([]string, bool) {
	for _, mark := range []string{"failed to create typed patch object (", "failed to convert new object (", "unable to convert unstructured object to ", "cannot be handled as a "} {
		_, rest, ok := strings.Cut(message, mark)
		if !ok {
			continue
		}
		if mark == "failed to convert new object (" && strings.Contains(rest, "unable to convert unstructured object to ") {
			_, rest, _ = strings.Cut(rest, "unable to convert unstructured object to ")
		}
		_, rest, ok = strings.Cut(rest, ": ")
		if !ok {
			return nil, false
		}
		var lines []string
		for line := range strings.Lines(strings.TrimPrefix(rest, "errors:")) {
			if line = strings.TrimSpace(line); line != "" {
				lines = append(lines, line)
			}
		}
		return lines, len(lines) > 0
	}
	return nil, false
}

var typeRules = regexp.MustCompile(`: (expected [a-z][a-z0-9 ()]*|field not declared in schema|duplicate entries for key)(?:,? got .*| \[.*)?$`)

// explainTypes names the fields of a wrong type, and what was expected there.
func explainTypes(lines []string, from content) string {
	var out []string
	for _, line := range lines {
		at := typeRules.FindStringSubmatchIndex(line)
		if at == nil || !strings.HasPrefix(line, ".") {
			out = append(out, explainConversion(line, from))
			continue
		}
		rule := line[at[2]:at[3]]
		switch rule {
		case "field not declared in schema":
			rule = "there is no such field"
		case "duplicate entries for key":
			rule = "two entries have the same key"
		case "expected string":
			rule = "expected string: quote it"
		}
		out = append(out, Path(strings.TrimPrefix(line[:at[0]], "."))+": "+rule)
	}
	slices.Sort(out)
	out = slices.Compact(out)
	if len(out) > 3 {
		out = append(out[:3], fmt.Sprintf("and %d more", len(out)-3))
	}
	return strings.Join(out, "; ")
}

// explainConversion names the field that could not be read: the API server names its value only.
func explainConversion(line string, from content) string {
	field := ""
	switch {
	case strings.Contains(line, "quantities must match"):
		field, line = from.find(func(path, value string) bool {
			_, err := resource.ParseQuantity(value)
			return quantityField.MatchString(path) && err != nil
		}), "expected quantity, such as 100m or 1Gi"
	case strings.Contains(line, "illegal base64 data"):
		field, line = from.find(func(path, value string) bool {
			_, err := base64.StdEncoding.DecodeString(value)
			return strings.HasPrefix(path, ".data.") && err != nil
		}), "expected base64"
	default:
		if _, rest, ok := strings.Cut(line, `"`); ok {
			quoted, _, _ := strings.Cut(rest, `"`)
			field = from.find(func(_, value string) bool { return value == quoted })
		}
		if strings.HasPrefix(line, "parsing time") {
			line = "expected time, such as 2006-01-02T15:04:05Z"
		}
	}
	switch {
	case from.secret && !strings.HasPrefix(line, "expected "):
		line = "cannot be read"
	default:
		line = from.scrub(line)
	}
	if field != "" {
		line = Path(field) + ": " + line
	}
	return line
}

var quantityField = regexp.MustCompile(`\.(limits|requests|capacity|hard|max|min|default|defaultRequest|overhead|podFixed|maxLimitRequestRatio|allocatable)\.[^.]+$|sizeLimit$|averageValue$|\.value$|divisor$`)
