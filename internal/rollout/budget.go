package rollout

import (
	"fmt"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/intstr"
)

// Amount is a number of clusters that a spec may give as a percentage.
type Amount struct {
	// Clusters is what it comes to.
	Clusters int
	// Rounding describes how a percentage was taken: "10% of 7 = 1". Empty for a number.
	Rounding string
}

// portion reads v of n clusters. A percentage above 0 comes to at least one cluster, and one below
// 100 to less than all of them where there are several.
func portion(v intstr.IntOrString, n int) Amount {
	p, percentage := percent(v)
	if !percentage {
		return Amount{Clusters: v.IntValue()}
	}
	k := p * n / 100
	if k == 0 && p > 0 && n > 0 {
		k = 1
	}
	return Amount{Clusters: k, Rounding: rounding(p, n, k)}
}

// tolerance reads v as how many of n clusters may fail. It is like portion, but a percentage below 100
// never tolerates that all fail, not even where all is one.
func tolerance(v *intstr.IntOrString, n int) Amount {
	if v == nil {
		return Amount{}
	}
	a := portion(*v, n)
	if p, percentage := percent(*v); percentage && p < 100 && n > 0 && a.Clusters >= n {
		return Amount{Clusters: n - 1, Rounding: rounding(p, n, n-1)}
	}
	return a
}

// haltsAt is the number of failures among n clusters at which the default halts: 2, or 5 % of them
// rounded up, whichever is less.
func haltsAt(n int) Amount {
	k := max((5*n+99)/100, 1)
	if k >= 2 {
		return Amount{Clusters: 2}
	}
	return Amount{Clusters: k, Rounding: rounding(5, n, k)}
}

func rounding(p, n, k int) string { return fmt.Sprintf("%d%% of %d = %d", p, n, k) }

// percent returns the percentage that v gives, if it is one.
func percent(v intstr.IntOrString) (int, bool) {
	if v.Type != intstr.String {
		return 0, false
	}
	p, _ := strconv.Atoi(strings.TrimSuffix(v.StrVal, "%")) // checkAmount has seen it
	return p, true
}

// checkAmount describes what is wrong with a number or percentage that is to be at least least.
func checkAmount(v *intstr.IntOrString, least int) error {
	switch {
	case v == nil:
		return nil
	case v.Type == intstr.Int && v.IntValue() < least:
		return fmt.Errorf("%d is less than %d", v.IntValue(), least)
	case v.Type == intstr.Int:
		return nil
	}
	digits, ok := strings.CutSuffix(v.StrVal, "%")
	p, err := strconv.ParseUint(digits, 10, 8)
	if !ok || err != nil || int(p) < least || p > 100 {
		return fmt.Errorf("%q is neither a number nor a percentage from %d%% to 100%%", v.StrVal, least)
	}
	return nil
}
