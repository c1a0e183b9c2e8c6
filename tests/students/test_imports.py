import subprocess
import sys

import openwheel.students
from openwheel.students import save_student, train

from .samples import traffic


def python(code: str, *arguments: str) -> str:
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


HEAVY = "heavy = {'torch', 'transformers', 'sklearn', 'tokenizers', 'pandas'} & set(sys.modules)\n"


def test_the_package_loads_nothing_heavy():
    found = python("import sys, openwheel\nprint({'numpy', 'scipy', 'msgspec'} & set(sys.modules))")
    assert found == "set()"


def test_students_need_no_training_library():
    """Nor sparse matrices until there is something to train: every worker's start would wait."""
    late = "{'scipy.sparse', 'numpy.f2py'}"
    code = f"import sys, openwheel.students\n{HEAVY}print(heavy | {late} & set(sys.modules))"
    assert python(code) == "set()"


def test_a_linear_student_answers_without_any(tmp_path):
    inputs, answers = traffic(80, 3)
    student = train("linear", inputs, answers, variables=(0,)).student
    hashes = save_student(student, tmp_path / "student")
    code = (
        "import sys, json\nfrom pathlib import Path\nfrom openwheel.students import load_student\n"
        "student = load_student(Path(sys.argv[1]), json.loads(sys.argv[2]))\n"
        "text, _ = student.answer_one((sys.argv[3],))\nstudent.answer([(sys.argv[3],)])\n"
        f"{HEAVY}print(text, heavy)"
    )
    import json

    found = python(code, str(tmp_path / "student"), json.dumps(hashes), inputs[0][0])
    assert found == f"{answers[0]} set()"


def test_exported_names():
    names = {name for name in openwheel.students.__all__ if hasattr(openwheel.students, name)}
    assert names == set(openwheel.students.__all__)
    assert tuple(openwheel.students.rungs()) == ("exact", "linear", "encoder", "lm")
