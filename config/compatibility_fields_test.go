package config_test

import (
	"cmp"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// testsOfFields names, for each field of Flux that COMPATIBILITY.md says is here, tests that fail when it has no
// effect: "package.TestName", or the golden file or script. Most of what decides a render is in files of
// internal/targeting/testdata/flux, which hold it against Flux's own packages.
var testsOfFields = map[string][]string{
	"GitRepository.spec.ignore":                             {flux("files-that-are-left-out"), flux("a-picture-of-a-generator"), "controllers/kustomization.TestEditOfIgnoreRendersAnew"},
	"GitRepository.spec.include":                            {includes, "internal/git.TestIncludedRepositoriesAreShownInTheTree"},
	"GitRepository.spec.include.fromPath":                   {includes},
	"GitRepository.spec.include.repository":                 {includes},
	"GitRepository.spec.include.repository.name":            {includes},
	"GitRepository.spec.include.toPath":                     {includes},
	"GitRepository.spec.interval":                           {"controllers/gitrepository.TestFetchAndNothingNew", "internal/report/testdata/gitrepository/suspended.txtar", durations},
	"GitRepository.spec.provider":                           {references, "internal/git.TestParseGitHubApp"},
	"GitRepository.spec.proxySecretRef":                     {references, "internal/git.TestProxy"},
	"GitRepository.spec.proxySecretRef.name":                {references},
	"GitRepository.spec.recurseSubmodules":                  {requested, "internal/git.TestSubmodulesAreShownAtTheCommitsThatArePinned", "internal/git.TestSubmodulesThatCannotBeFetched"},
	"GitRepository.spec.ref":                                {requested, references, "internal/git.TestReferences"},
	"GitRepository.spec.ref.branch":                         {requested, references, "internal/git.TestFollowBranch"},
	"GitRepository.spec.ref.commit":                         {requested, "internal/git.TestReferences"},
	"GitRepository.spec.ref.name":                           {requested, references, "internal/git.TestFullNameOfAReference"},
	"GitRepository.spec.ref.semver":                         {requested, references, "internal/git.TestSemVerFollowsTheHighestTag"},
	"GitRepository.spec.ref.tag":                            {requested, "internal/git.TestReferences"},
	"GitRepository.spec.secretRef":                          {"controllers/gitrepository.TestSecret", references, "e2e/testdata/bad-git/credentials.txtar"},
	"GitRepository.spec.secretRef.name":                     {"controllers/gitrepository.TestSecret"},
	"GitRepository.spec.serviceAccountName":                 {schemas},
	"GitRepository.spec.sparseCheckout":                     {requested, "internal/git.TestSparseDirectoriesAreAllThatIsShown"},
	"GitRepository.spec.suspend":                            {"controllers/gitrepository.TestASuspendedRepositoryIsNotChecked", "internal/report/testdata/gitrepository/suspended.txtar"},
	"GitRepository.spec.timeout":                            {requested, "controllers/gitrepository.TestFetchAndNothingNew", "internal/git.TestFetchThatMakesProgressOutlastsItsTimeout"},
	"GitRepository.spec.url":                                {requested, "internal/git.TestURLGrammar", schemas},
	"GitRepository.spec.verify":                             {"controllers/gitrepository.TestNothingIsFetchedWithoutTheKeys", "internal/git.TestACommitIsFollowedOnlyIfATrustedKeySignedIt"},
	"GitRepository.spec.verify.mode":                        {"controllers/gitrepository.TestNothingIsFetchedWithoutTheKeys", "internal/git.TestATagIsFollowedOnlyIfItsOwnSignatureHolds"},
	"GitRepository.spec.verify.secretRef":                   {"controllers/gitrepository.TestNothingIsFetchedWithoutTheKeys", "controllers/gitrepository.TestAChangeOfTheKeysBringsACheck"},
	"GitRepository.spec.verify.secretRef.name":              {"controllers/gitrepository.TestNothingIsFetchedWithoutTheKeys"},
	"GitRepository.status.artifact":                         {fetched},
	"GitRepository.status.artifact.digest":                  {fetched},
	"GitRepository.status.artifact.lastUpdateTime":          {fetched},
	"GitRepository.status.artifact.revision":                {fetched, references},
	"GitRepository.status.artifact.size":                    {fetched},
	"GitRepository.status.conditions":                       {"controllers/gitrepository.TestReasons", "internal/report/testdata/gitrepository/from-first-fetch-to-force-push.txtar"},
	"GitRepository.status.includedArtifacts":                {includes},
	"GitRepository.status.includedArtifacts.digest":         {includes},
	"GitRepository.status.includedArtifacts.lastUpdateTime": {includes},
	"GitRepository.status.includedArtifacts.revision":       {includes},
	"GitRepository.status.includedArtifacts.size":           {includes},
	"GitRepository.status.lastHandledReconcileAt":           {"internal/report/testdata/gitrepository/suspended.txtar"},
	"GitRepository.status.observedGeneration":               {"internal/report/testdata/gitrepository/suspended.txtar"},
	"GitRepository.status.sourceVerificationMode":           {"controllers/gitrepository.TestNothingIsFetchedWithoutTheKeys"},
	"Kustomization.spec.buildMetadata":                      {flux("build-metadata")},
	"Kustomization.spec.commonMetadata":                     {flux("options")},
	"Kustomization.spec.commonMetadata.annotations":         {flux("options")},
	"Kustomization.spec.commonMetadata.labels":              {flux("options")},
	"Kustomization.spec.components":                         {flux("options")},
	"Kustomization.spec.decryption":                         {secrets, "controllers/kustomization.TestDecryptionIsAsTheKustomizationSays"},
	"Kustomization.spec.decryption.provider":                {secrets},
	"Kustomization.spec.decryption.secretRef":               {secrets, "controllers/kustomization.TestRotatedKeyDecryptsAnew"},
	"Kustomization.spec.decryption.secretRef.name":          {secrets},
	"Kustomization.spec.decryption.serviceAccountName":      {"controllers/kustomization.TestDecryptionIsAsTheKustomizationSays"},
	"Kustomization.spec.deletionPolicy":                     {"e2e/testdata/sync/options.txtar", "api/v1alpha1.TestDeletionPolicyMirrorsPruneUnlessItIsSet"},
	"Kustomization.spec.dependsOn":                          {entries, "internal/engine.TestDependencies", "e2e/testdata/sync/depends-on.txtar"},
	"Kustomization.spec.dependsOn.name":                     {entries, "internal/engine.TestDependencies"},
	"Kustomization.spec.dependsOn.namespace":                {"controllers/kustomization.TestDependenciesOfAnotherNamespace"},
	"Kustomization.spec.dependsOn.readyExpr":                {"controllers/kustomization.TestReadyExprIsEvaluatedForEachCluster"},
	"Kustomization.spec.force":                              {entries, "internal/engine.TestImmutableFields", "internal/engine.TestForceDoesNotRecreateWhatMustNotBeDeleted"},
	"Kustomization.spec.healthCheckExprs":                   {entries, "internal/engine.TestExpressionsJudgeTheObjectsOfTheirKustomization"},
	"Kustomization.spec.healthCheckExprs.apiVersion":        {expressions},
	"Kustomization.spec.healthCheckExprs.current":           {expressions},
	"Kustomization.spec.healthCheckExprs.failed":            {expressions},
	"Kustomization.spec.healthCheckExprs.inProgress":        {expressions},
	"Kustomization.spec.healthCheckExprs.kind":              {expressions},
	"Kustomization.spec.healthChecks":                       {entries, waited},
	"Kustomization.spec.healthChecks.apiVersion":            {waited, "internal/engine.TestAHealthCheckOutlivesTheVersionThatItNames"},
	"Kustomization.spec.healthChecks.kind":                  {waited},
	"Kustomization.spec.healthChecks.name":                  {waited},
	"Kustomization.spec.healthChecks.namespace":             {waited},
	"Kustomization.spec.ignore":                             {"controllers/kustomization.TestARuleThatCannotBeFollowedIsNamed", "internal/engine.TestIgnoredFieldsAreTheirControllers"},
	"Kustomization.spec.ignore.paths":                       {"controllers/kustomization.TestARuleThatCannotBeFollowedIsNamed", "e2e/testdata/way/fields-of-controllers.txtar"},
	"Kustomization.spec.ignore.target":                      {ignoreTargets},
	"Kustomization.spec.ignore.target.annotationSelector":   {ignoreTargets},
	"Kustomization.spec.ignore.target.group":                {ignoreTargets},
	"Kustomization.spec.ignore.target.kind":                 {ignoreTargets},
	"Kustomization.spec.ignore.target.labelSelector":        {ignoreTargets},
	"Kustomization.spec.ignore.target.name":                 {ignoreTargets},
	"Kustomization.spec.ignore.target.namespace":            {ignoreTargets},
	"Kustomization.spec.ignore.target.version":              {ignoreTargets},
	"Kustomization.spec.ignoreMissingComponents":            {flux("options")},
	"Kustomization.spec.images":                             {flux("options"), "controllers/kustomization.TestPatchesAndImagesOfSomeClusters"},
	"Kustomization.spec.images.digest":                      {flux("options")},
	"Kustomization.spec.images.name":                        {flux("options")},
	"Kustomization.spec.images.newName":                     {flux("options")},
	"Kustomization.spec.images.newTag":                      {flux("images")},
	"Kustomization.spec.interval":                           {entries, "internal/engine.TestStuckWatchHidesDriftUntilTheInterval", durations},
	"Kustomization.spec.kubeConfig":                         {schemas},
	"Kustomization.spec.namePrefix":                         {flux("options")},
	"Kustomization.spec.nameSuffix":                         {flux("options")},
	"Kustomization.spec.patches":                            {flux("options"), "controllers/kustomization.TestPatchesAndImagesOfSomeClusters"},
	"Kustomization.spec.patches.patch":                      {flux("options")},
	"Kustomization.spec.patches.target":                     {flux("targets-of-patches")},
	"Kustomization.spec.patches.target.annotationSelector":  {flux("targets-of-patches")},
	"Kustomization.spec.patches.target.group":               {flux("targets-of-patches")},
	"Kustomization.spec.patches.target.kind":                {flux("targets-of-patches")},
	"Kustomization.spec.patches.target.labelSelector":       {flux("targets-of-patches")},
	"Kustomization.spec.patches.target.name":                {flux("targets-of-patches")},
	"Kustomization.spec.patches.target.namespace":           {flux("targets-of-patches")},
	"Kustomization.spec.patches.target.version":             {flux("targets-of-patches")},
	"Kustomization.spec.path":                               {flux("base-and-overlays"), "controllers/kustomization.TestAPathThatIsMissingForOneCluster", schemas},
	"Kustomization.spec.postBuild":                          {flux("variables-of-a-cluster"), "internal/targeting.TestEmptyPostBuildSubstitutesNothing"},
	"Kustomization.spec.postBuild.substitute":               {flux("variables-of-a-cluster")},
	"Kustomization.spec.postBuild.substituteFrom":           {flux("variables-of-a-cluster"), "controllers/kustomization.TestVariablesOfEachCluster"},
	"Kustomization.spec.postBuild.substituteFrom.kind":      {flux("variables-of-a-cluster")},
	"Kustomization.spec.postBuild.substituteFrom.name":      {flux("variables-of-a-cluster")},
	"Kustomization.spec.postBuild.substituteFrom.optional":  {flux("variables-of-a-cluster"), "controllers/kustomization.TestVariablesOfEachCluster"},
	"Kustomization.spec.postBuild.substituteStrategy":       {flux("defaults-with-always")},
	"Kustomization.spec.prune":                              {entries, "internal/plan/testdata/without-prune-objects-are-released.txtar", "e2e/testdata/sync/options.txtar"},
	"Kustomization.spec.retryInterval":                      {entries, "internal/report.TestPausesStayBetweenASecondAndTheInterval", durations},
	"Kustomization.spec.serviceAccountName":                 {"controllers/kustomization.TestWhoseAccountAKustomizationHas", "internal/engine.TestEverythingIsAskedInTheNameOfTheAccount"},
	"Kustomization.spec.sourceRef":                          {"controllers/kustomization.TestSources", "controllers/kustomization.TestASourceOfAnotherNamespaceIsRendered"},
	"Kustomization.spec.sourceRef.apiVersion":               {schemas},
	"Kustomization.spec.sourceRef.kind":                     {schemas},
	"Kustomization.spec.sourceRef.name":                     {"controllers/kustomization.TestASourceOfAnotherNamespaceIsRendered"},
	"Kustomization.spec.sourceRef.namespace":                {"controllers/kustomization.TestASourceOfAnotherNamespaceIsRendered", "e2e/testdata/sync/other-namespaces.txtar"},
	"Kustomization.spec.suspend":                            {"controllers/kustomization.TestSuspend", "e2e/testdata/sync/options.txtar"},
	"Kustomization.spec.targetNamespace":                    {flux("options")},
	"Kustomization.spec.timeout":                            {entries, "internal/engine.TestAPassThatTakesTooLong", durations},
	"Kustomization.spec.wait":                               {entries, "e2e/testdata/sync/health.txtar"},
	"Kustomization.status.conditions":                       {committed, "internal/report/testdata/kustomization/failures-name-what-is-wrong-where.txtar"},
	"Kustomization.status.history":                          {"internal/report/testdata/kustomization/history-holds-five.txtar"},
	"Kustomization.status.lastAppliedRevision":              {committed},
	"Kustomization.status.lastAttemptedRevision":            {committed, "e2e/testdata/way/does-not-render.txtar"},
	"Kustomization.status.lastHandledReconcileAt":           {"internal/report/testdata/kustomization/a-request-is-handled-when-every-reachable-cluster-has.txtar"},
	"Kustomization.status.observedGeneration":               {committed},
	"Receiver.spec.events":                                  {"internal/receiver.TestRecordedWebhooksAreAccepted"},
	"Receiver.spec.interval":                                {receiverFields},
	"Receiver.spec.oidcProviders":                           {"controllers/receiver.TestWhatCannotBeAcceptedIsNamed", providers},
	"Receiver.spec.oidcProviders.audience":                  {"internal/receiver.TestTokensOfAnotherIssuerAudienceTimeOrCallerAreRefused"},
	"Receiver.spec.oidcProviders.issuerURL":                 {"controllers/receiver.TestWhatCannotBeAcceptedIsNamed", "internal/receiver.TestTheHubAsksOnlyIssuersThatAreAllowed"},
	"Receiver.spec.oidcProviders.validations":               {providers},
	"Receiver.spec.oidcProviders.validations.expression":    {providers},
	"Receiver.spec.oidcProviders.validations.message":       {providers},
	"Receiver.spec.oidcProviders.variables":                 {providers},
	"Receiver.spec.oidcProviders.variables.expression":      {providers},
	"Receiver.spec.oidcProviders.variables.name":            {providers},
	"Receiver.spec.resourceFilter":                          {receiverSources},
	"Receiver.spec.resources":                               {receiverSources},
	"Receiver.spec.resources.apiVersion":                    {receiverFields},
	"Receiver.spec.resources.filter":                        {receiverSources},
	"Receiver.spec.resources.kind":                          {receiverFields},
	"Receiver.spec.resources.matchLabels":                   {receiverSources},
	"Receiver.spec.resources.name":                          {receiverSources},
	"Receiver.spec.resources.namespace":                     {receiverSources},
	"Receiver.spec.secretRef":                               {receiverFields, "controllers/receiver.TestThePathFollowsTheToken"},
	"Receiver.spec.secretRef.name":                          {receiverFields},
	"Receiver.spec.suspend":                                 {"controllers/receiver.TestWhatCannotBeAcceptedIsNamed", "internal/receiver.TestServerAnswersAtTheExactPathOnly"},
	"Receiver.spec.type":                                    {"internal/receiver.TestEveryTypeHasARecordedWebhook", receiverFields},
	"Receiver.status.conditions":                            {receiverFields},
	"Receiver.status.lastHandledReconcileAt":                {receiverFields},
	"Receiver.status.observedGeneration":                    {receiverFields},
	"Receiver.status.webhookPath":                           {"controllers/receiver.TestThePathFollowsTheToken", "config.TestWebhookPathsAreThoseOfFlux"},
}

const (
	committed     = "internal/report/testdata/kustomization/a-commit-from-first-sync-to-ready.txtar"
	durations     = "internal/hub.TestWhatTheSchemaAcceptsGoCanDecode"
	entries       = "controllers/kustomization.TestEntryHasTheOptions"
	expressions   = "internal/health.TestExpressionsJudgeTheirKind"
	fetched       = "controllers/gitrepository.TestFetchAndNothingNew"
	ignoreTargets = "internal/drift.TestTargetsSelectAsInFlux"
	includes      = "controllers/gitrepository.TestIncludedRepositoriesAreNamedInTheArtifact"
	providers     = "internal/receiver.TestProvidersReadVariablesAndNameTheValidationThatFails"

	receiverFields  = "controllers/receiver.TestFieldsOfFluxAreTakenAsTheyAre"
	receiverSources = "controllers/receiver.TestWhichSourcesAWebhookFetches"

	references = "e2e/testdata/sync/git-references.txtar"
	requested  = "internal/git.TestRequestAsksForAllThatTheSpecNames"
	schemas    = "internal/hub.TestSchema"
	secrets    = "e2e/testdata/sync/secrets.txtar"
	waited     = "internal/engine.TestReadyWaitsForWhatHealthChecksName"
)

// flux is a case of TestRendersAsFlux.
func flux(name string) string { return "internal/targeting/testdata/flux/" + name + ".txtar" }

// TestEveryFieldThatIsHereHasATest holds the table above against COMPATIBILITY.md and against the tests: each of
// them exists, and one of each row names the field.
func TestEveryFieldThatIsHereHasATest(t *testing.T) {
	said := rows(t)
	for name, r := range said {
		if strings.Contains(name, ".spec.") || strings.Contains(name, ".status.") {
			if has := len(testsOfFields[name]) > 0; has != (r.verdict != "absent") {
				t.Errorf("%s is %s, and has tests: %t", name, r.verdict, has)
			}
		}
	}
	texts := map[string]string{}
	for field, tests := range testsOfFields {
		if _, ok := said[field]; !ok {
			t.Errorf("%s has no row", field)
		}
		leaf := field[strings.LastIndex(field, ".")+1:]
		word := strings.ToLower(cmp.Or(wordsOfStories[leaf], leaf))
		named := false
		for _, test := range tests {
			if _, ok := texts[test]; !ok {
				texts[test] = strings.ToLower(textOf(t, test))
			}
			named = named || strings.Contains(texts[test], word)
		}
		if !named {
			t.Errorf("%s: none of %v names %s", field, tests, word)
		}
	}
}

// wordsOfStories are what the stories of internal/report write for a field of a status.
var wordsOfStories = map[string]string{
	"conditions": "Ready=", "lastAppliedRevision": "applied ", "lastAttemptedRevision": "attempted ", "lastHandledReconcileAt": "handled ",
	"observedGeneration": "generation:",
}

// textOf is what a test consists of: the file, or the function.
func textOf(t *testing.T, test string) string {
	t.Helper()
	if strings.HasSuffix(test, ".txtar") {
		data, err := os.ReadFile(filepath.Join("..", test))
		if err != nil {
			t.Error(err)
		}
		return string(data)
	}
	dir, name, _ := strings.Cut(test, ".")
	files, err := filepath.Glob(filepath.Join("..", dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(files)
	function := regexp.MustCompile(`(?ms)^func ` + regexp.QuoteMeta(name) + `\(t \*testing\.T\) \{$.*?^\}$`)
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if found := function.Find(data); found != nil {
			return string(found)
		}
	}
	t.Errorf("there is no test %s", test)
	return ""
}
