"""A model file: its `build` function, the inputs it needs, and the model it builds."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayeslmm.errors import BayesLMMError, InputError, ModelError, warn_user
from bayeslmm.likelihood.terms import Grouping
from bayeslmm.models.confounding import check_confounded_trait, confounded_kernel, dominating_axis
from bayeslmm.models.contract import check_contract
from bayeslmm.models.family import Family, family_of, file_family, observed_scale_notes
from bayeslmm.models.kernel_checks import check_kernels
from bayeslmm.relationship.relatedness import check_duplicates, values_of_people
from bayeslmm.relationship.relationship import Relationship
from bayeslmm.relationship.variants import Variants
from bayeslmm.system.files import read_lines

if TYPE_CHECKING:
    import pymc as pm

    from bayeslmm.cohort.cohort import Cohort


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model file: call it as ``model_file(cohort, additive, h2="beta(2, 2)")``.

    Parameters
    ----------
    name
        Name of the file without its suffix.
    path
        Path of the file.
    sha256
        Checksum of its content, recorded with every result.
    """

    name: str
    path: Path
    sha256: str

    @property
    def doc(self) -> str:
        """Docstring of the file: equation, priors in words, reference."""
        try:
            return ast.get_docstring(ast.parse(self.source)) or ""
        except SyntaxError as error:
            raise _syntax_error(self.path, error) from error

    @property
    def source(self) -> str:
        """Text of the file."""
        return "".join(f"{line}\n" for line in read_lines(self.path))

    def function(self) -> Any:
        """Import the file and return its `build` function."""
        spec = importlib.util.spec_from_file_location(f"bayeslmm_model_{self.name}", self.path)
        if spec is None or spec.loader is None:
            raise InputError(
                "not a Python file", "a file that ends in .py", "rename it", path=self.path
            )
        module = importlib.util.module_from_spec(spec)
        _ = self.source  # raises our own message if the encoding is wrong
        try:
            spec.loader.exec_module(module)
        except SyntaxError as error:
            raise _syntax_error(self.path, error) from error
        except Exception as error:  # whatever the user's file does
            raise _model_file_error(self.path, error) from error
        build = getattr(module, "build", None)
        if not callable(build):
            raise InputError(
                "no function `build`",
                "def build(cohort, additive, *, ...) -> pm.Model",
                "start from a copy: bayeslmm models copy additive mine.py",
                path=self.path,
            )
        return build

    def matrices(self) -> list[str]:
        """Return the names of the relationship matrices that `build` needs."""
        return [
            parameter.name
            for parameter in list(inspect.signature(self.function()).parameters.values())[1:]
            if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        ]

    def more(self) -> str | None:
        """Return the name of the variadic argument of `build` (``*kernels``), None without one."""
        for parameter in inspect.signature(self.function()).parameters.values():
            if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                return parameter.name
        return None

    def priors(self) -> dict[str, str]:
        """Return the priors of `build`, its keyword-only arguments, with their defaults."""
        return {
            parameter.name: str(parameter.default)
            for parameter in inspect.signature(self.function()).parameters.values()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        }

    def __call__(self, cohort: Cohort, *matrices: Relationship, **arguments: Any) -> pm.Model:
        """Build the model and check the contract."""
        wanted = self.matrices()
        if len(matrices) > len(wanted) and self.more() is None:
            raise InputError(
                f"{len(matrices)} relationships",
                f"at most {len(wanted)}: {', '.join(wanted)}",
                "remove the others, or name them",
                path=self.path,
            )
        given: dict[str, Any] = dict(zip(wanted, matrices, strict=False))
        given |= _by_name(matrices[len(wanted) :])
        return self.build(cohort, {**given, **arguments}, {})

    def build(
        self, cohort: Cohort, matrices: Mapping[str, Any], priors: Mapping[str, str]
    ) -> pm.Model:
        """Build the model from matrices and priors by name, and check the contract.

        Raises
        ------
        InputError
            If a matrix is missing, or the file has no prior of a given name.
        ModelError
            If the model breaks the contract (`check_contract`), or its file raises an error.
        """
        build = self.function()
        known = inspect.signature(build).parameters
        if missing := [name for name in self.matrices() if name not in matrices]:
            raise InputError(
                f"the model needs the relationship {', '.join(missing)}",
                "each matrix that build() takes",
                "give it by name",
                path=self.path,
            )
        if isinstance(matrices.get("variants"), Relationship):
            raise InputError(
                f"a relationship matrix for the model {self.name}",
                "the variants themselves",
                "give genotypes (--bfile, --pfile), or take the model additive",
                path=self.path,
            )
        if cohort.trait_index is not None and not self.several_traits:
            raise InputError(
                f"the traits {cohort.trait} for the model {self.name}",
                "one trait",
                "use the model bivariate, or a cohort of each trait",
                path=self.path,
            )
        more = self.more()
        rest = [
            name
            for name, matrix in matrices.items()
            if name not in known and more and isinstance(matrix, Relationship | Grouping)
        ]
        if unknown := [n for n in [*matrices, *priors] if n not in known and n not in rest]:
            raise InputError(
                f"no prior or matrix {', '.join(unknown)} in the model {self.name}",
                f"one of {', '.join(list(known)[1:])}",
                f"see: bayeslmm models show {self.name}",
                path=self.path,
            )
        relationships = _check_inputs(matrices, cohort)
        named = {name: matrix for name, matrix in matrices.items() if name not in rest}
        first = [named.pop(name) for name in self.matrices()]
        try:
            model = build(cohort, *first, *(matrices[name] for name in rest), **named, **priors)
        except (BayesLMMError, MemoryError, Warning):
            raise
        except Exception as error:  # whatever the user's file does
            raise _model_file_error(self.path, error) from error
        from bayeslmm.distributions.phenotype import marginal_of

        check_contract(model, cohort, self.path)
        family = file_family(model, self._constant("SCALE", None), self.path)
        _check_phenotype(model, family, cohort, _aligned(matrices, cohort))
        marginal = marginal_of(model)
        S = None if marginal is None else marginal.spectrum
        if S is not None:
            axis = dominating_axis(S.eigenvalues, S.leading_axis(), cohort.labels)
            for text in (axis,) if axis else ():
                warn_user(text)
        model.provenance = {
            "model": self.name,
            "model_file": self.path.name,
            "model_sha256": self.sha256,
            **family.record(),
            "trait": cohort.trait,
            "n": int(cohort.y.size),
            "ledger": cohort.ledger.records(),
            "relationships": relationships,
        }
        return model

    def exchange(self, model: pm.Model, cohort: Cohort, matrices: Mapping[str, Any]) -> None:
        """Replace the trait of a built model by another of the same individuals and design.

        Compiled functions of the model stay valid.
        """
        from bayeslmm.distributions.phenotype import set_phenotype

        _check_phenotype(model, family_of(model), cohort, _aligned(matrices, cohort))
        for text in check_confounded_trait(cohort):
            warn_user(text)
        set_phenotype(model, cohort.y)
        model.provenance = model.provenance | {
            "trait": cohort.trait,
            "ledger": cohort.ledger.records(),
        }

    def _constant(self, name: str, default: Any) -> Any:
        return self.function().__globals__.get(name, default)

    @property
    def several_traits(self) -> bool:
        """Whether the model takes several traits at once (``SEVERAL_TRAITS = True``)."""
        return bool(self._constant("SEVERAL_TRAITS", False))

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the cohort that the model needs (``COLUMNS = ("dam",)`` in the file)."""
        return tuple(self._constant("COLUMNS", ()))

    @property
    def optional_columns(self) -> tuple[str, ...]:
        """Columns that the model uses if the cohort has them (``OPTIONAL_COLUMNS``)."""
        return tuple(self._constant("OPTIONAL_COLUMNS", ()))


def _aligned(matrices: Mapping[str, Any], cohort: Cohort) -> dict[str, Relationship]:
    """Align relationships with the cohort; replace variants by their GRM, "additive"."""
    found = {}
    for name, matrix in matrices.items():
        if isinstance(matrix, Relationship):
            found[name] = matrix.on(cohort.people)
        elif isinstance(matrix, Variants):
            found["additive"] = matrix.on(cohort.people).relationship().on(cohort.people)
    return found


def _check_inputs(matrices: Mapping[str, Any], cohort: Cohort) -> dict[str, dict[str, object]]:
    """Check for confounding and unidentified variances; return the provenance of every matrix.

    The aligned matrices are freed on return, before the model allocates its own memory.
    """
    aligned = _aligned(matrices, cohort)
    for text in check_confounded_trait(cohort):
        warn_user(text)
    for matrix in aligned.values():
        for text in confounded_kernel(cohort, matrix) if matrix.kind == "genetic" else ():
            warn_user(text)
    if len(aligned) > 1:
        for text in check_kernels(list(aligned.values())):
            warn_user(text)
    return provenances(matrices, aligned)


def _check_phenotype(
    model: pm.Model, family: Family, cohort: Cohort, aligned: Mapping[str, Relationship]
) -> None:
    """Warn of a binary trait on the observed scale; refuse or warn of duplicate individuals."""
    for text in observed_scale_notes(cohort, family):
        warn_user(text)
    values = values_of_people(cohort)
    discrete = model["phenotype"].dtype.startswith("int")
    for matrix in aligned.values():
        if matrix.kind == "genetic":
            check_duplicates(matrix, values, proper=discrete)


def provenances(
    matrices: Mapping[str, Any], aligned: Mapping[str, Relationship]
) -> dict[str, dict[str, object]]:
    """Return the provenance of every matrix by name."""
    found = {name: matrix.provenance() for name, matrix in aligned.items()}
    for name, matrix in matrices.items():
        if isinstance(matrix, Grouping):
            found[name] = matrix.provenance()
    return found


def _by_name(matrices: Sequence[Relationship]) -> dict[str, Relationship]:
    """Index relationships by their names; raise `InputError` unless the names differ."""
    found = {matrix.name: matrix for matrix in matrices}
    if len(found) < len(matrices) or "residual" in found:
        raise InputError(
            f"relationships called {', '.join(matrix.name for matrix in matrices)}",
            "different names, none of them 'residual'",
            "name them: dataclasses.replace(relationship, name=...)",
        )
    return found


def _syntax_error(path: Path, error: SyntaxError) -> InputError:
    return InputError(
        f"syntax error: {error.msg}", "Python", "correct it", path=path, line=error.lineno
    )


def _model_file_error(path: Path, error: Exception) -> ModelError:
    """Wrap an error raised by the code of a model file, with the line that caused it."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    where = f"{path}:{lines[-1]}" if lines else f"{path}"
    return ModelError(f"{where}: {type(error).__name__}: {error} -> correct the file")
